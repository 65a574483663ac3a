package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the Go heap in bytes; caches lie outside of it.
const (
	keeperMemory = 16 << 20
	workerMemory = 128 << 20
	// patience is how far the heap grows before what is unused is collected, in percent of what is used, and of 4 MB at the least, during
	// the first patienceTime: beyond what a worker takes to begin, whose first collection took 20 ms of the boot of an emulated machine.
	patience     = 400
	patienceTime = 30 * time.Second
	standard     = 100 // Go's own
)

const (
	// enclosure is where the root of the two processes is put together; it is of no use afterwards.
	enclosure = "/run/spate/keeper"
	// urgency is how much earlier than others the two processes get a processor, as nice(2) counts.
	urgency = -10
)

// enclose gives this process a root of its own, in the mount namespace that it was started in: nothing but /proc, /sys, /dev
// and /run of the machine, which are the same after switch_root. No mount of it belongs to the disk, and none of the disk will
// come, because nothing is shared with the namespace that the machine lives in.
func enclose() error {
	fail := func(what string, err error) error { return fmt.Errorf("keeper: %s: %w", what, err) }
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fail("make mounts private", err)
	}
	if err := os.MkdirAll(enclosure, 0o700); err != nil {
		return fail("make a root", err)
	}
	if err := unix.Mount("spate", enclosure, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return fail("mount a root", err)
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run"} {
		to := filepath.Join(enclosure, dir)
		if err := os.Mkdir(to, 0o755); err != nil {
			return fail("make a root", err)
		}
		if err := unix.Mount(dir, to, "", unix.MS_BIND, ""); err != nil {
			return fail("bind "+dir, err)
		}
	}
	for _, dir := range []string{"etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(enclosure, dir), 0o755); err != nil {
			return fail("make a root", err)
		}
	}
	if err := os.Chdir(enclosure); err != nil {
		return fail("enter the root", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fail("move the root", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fail("enter the root", err)
	}
	return os.Chdir("/")
}

// omitFile is where sysvinit's shutdown looks for processes that it must not kill: it does not know of names that begin with @.
const omitFile = "/run/sendsigs.omit.d/spate"

// spare writes the numbers of processes to such a file. Whoever does not read it misses nothing.
func spare(file string, pids ...int) {
	var b []byte
	for _, pid := range pids {
		b = append(strconv.AppendInt(b, int64(pid), 10), '\n')
	}
	_ = os.MkdirAll(filepath.Dir(file), 0o755)
	_ = os.WriteFile(file, b, 0o644)
}

// protect does what makes a process last. What cannot be done is told; the process goes on.
func protect(heap int64) (bad []error) {
	complain := func(what string, err error) {
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", what, err))
		}
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	debug.SetMemoryLimit(heap)
	debug.SetGCPercent(patience)
	time.AfterFunc(patienceTime, func() { debug.SetGCPercent(standard) })
	complain("be the last to be killed for memory", os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0o644))
	// Whatever is used, from its first use on: without ONFAULT what Go only reserves would be filled too, 60 MB of it. The program
	// itself at once.
	complain("stay in memory", unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT))
	complain("keep the program in memory", lockProgram())
	complain("be served first", unix.Setpriority(unix.PRIO_PGRP, 0, urgency))
	// Where sessions are groups for the scheduler, it is the group whose urgency counts among others.
	if err := os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(urgency)), 0); !errors.Is(err, fs.ErrNotExist) {
		complain("be served first", err)
	}
	return bad
}
