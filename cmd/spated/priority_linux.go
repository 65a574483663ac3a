package main

import (
	"os"
	"strconv"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	// niceness of a server: it must answer each request within milliseconds, also
	// beside programs that take every cycle they get; silence means death to its
	// targets.
	niceness = -10
	// ordinary is niceness 0 as getpriority(2) of the kernel tells it.
	ordinary = 20
)

// preferMe asks the kernel to run this process before ordinary ones, unless
// whoever started it gave it a niceness. Without the privilege nothing changes.
// Niceness belongs to a thread, and new threads take that of their maker, so
// each one is asked for, until there is none that an older one made meanwhile
// (sched(7)).
func preferMe(log *zap.Logger) {
	for changed := 0; ; {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return
		}
		before := changed
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return
			}
			if now, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err != nil || now != ordinary {
				continue // it has ended, or has a niceness
			}
			if unix.Setpriority(unix.PRIO_PROCESS, tid, niceness) != nil {
				return // refused for one means refused for all, and that is all right
			}
			changed++
		}
		if changed == before {
			if changed > 0 {
				log.Info("runs before ordinary programs", zap.Int("niceness", niceness))
			}
			return
		}
	}
}
