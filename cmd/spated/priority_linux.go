package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// niceness of a server: it must answer each request within milliseconds, also
// beside programs that take every cycle they get; silence means death to its
// targets.
const niceness = -10

// preferMe asks the kernel to run this process before ordinary ones. Without
// the privilege nothing changes. Niceness belongs to a thread, and new threads
// take that of their maker, so each one that exists is asked for (sched(7)).
func preferMe() {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			// Refused for one means refused for all, and that is all right.
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, niceness)
		}
	}
}
