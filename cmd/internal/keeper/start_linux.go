package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Keeper is the running keeper, as PID 1 sees it.
type Keeper struct {
	link *link
	pid  int
}

// Start starts the keeper, which starts the worker. /proc, /sys, /dev and /run must be mounted, the modules of the card and of
// nbd loaded; nothing of the vDisk is mounted yet. The keeper lives on when the caller ends. Initramfs is the root folder, whose files
// the keeper deletes when the system runs, or nil; it stays the caller's.
func Start(c Config, initramfs *os.File) (*Keeper, error) {
	if c.Binary == "" {
		c.Binary = "/proc/self/exe"
	}
	binary, err := holdBinary(c.Binary)
	if err != nil {
		return nil, err
	}
	defer binary.Close()
	mine, theirs, err := newPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	pid, err := startFlushing(binary, theirs, binary, initramfs)
	if err != nil {
		mine.Close()
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	k := &Keeper{link: mine, pid: pid}
	if err := k.link.send(message{Config: &c}); err != nil {
		return nil, errors.Join(fmt.Errorf("start the keeper: %w", err), k.Close())
	}
	return k, nil
}

// PID is the number of the keeper's process.
func (k *Keeper) PID() int { return k.pid }

// Next waits for the next event. io.EOF says that the keeper has gone, which it never should.
func (k *Keeper) Next(ctx context.Context) (Event, error) {
	for {
		m, err := k.link.receive(ctx)
		if err != nil {
			return Event{}, err
		}
		if m.Event != nil {
			return *m.Event, nil
		}
	}
}

// Tell tells the worker, and by it the servers, that a stage was reached, and when: as time since the kernel was started.
func (k *Keeper) Tell(s Stage, at time.Duration) error {
	return k.link.send(message{Event: &Event{Kind: Reached, Stage: s, At: at}})
}

// Close ends the conversation. The keeper and the disk go on.
func (k *Keeper) Close() error { return k.link.Close() }

// startFlushing starts a keeper, which gets files from linkFD on, as a process that the kernel knows to be a part of writing pages out:
// the memory that it needs is never got by writing to the disk that it serves. The flag is a thread's; it is inherited by children and
// kept by exec. Init reaps the process, whoever that is then; package os would try out first how to wait for it.
func startFlushing(program *os.File, files ...*os.File) (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0) == nil {
		defer unix.Prctl(unix.PR_SET_IO_FLUSHER, 0, 0, 0, 0) //nolint:errcheck // it was set a moment ago
	}
	fds := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	for _, f := range files {
		fds = append(fds, f.Fd()) // of none: one that the process does not get
	}
	path := fmt.Sprintf("/proc/self/fd/%d", program.Fd())
	pid, err = syscall.ForkExec(path, []string{keeperName, Command, RoleKeeper}, &syscall.ProcAttr{
		Dir: "/", Env: environment(), Files: fds,
		// Not killed with the caller, not in its session; in a mount namespace of its own from its first instruction.
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS},
	})
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", path, err)
	}
	return pid, nil
}

// The magic numbers of file systems in memory (statfs(2)).
const (
	ramfsMagic = 0x858458f6
	tmpfsMagic = 0x01021994
)

// holdBinary holds a program in memory as long as the descriptor lasts. One that lies in memory already, as in an initramfs, stays
// there when its name has gone; a copy would cost an emulated machine a fifth of a second, because nothing of it is translated yet.
func holdBinary(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold the program: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || int64(fs.Type) != ramfsMagic && int64(fs.Type) != tmpfsMagic {
		_ = unix.Close(fd) // it was only looked at
		return copyBinary(path)
	}
	return above(fd, binaryName)
}

// copyBinary copies a program into memory that lasts as long as a descriptor of it.
func copyBinary(path string) (*os.File, error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("copy the program: %w", err)
	}
	defer from.Close()
	to, err := newMemfd(binaryName)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(to, from); err != nil {
		return nil, errors.Join(fmt.Errorf("copy the program: %w", err), to.Close())
	}
	return to, nil
}

// The least numbers of descriptors that stay open: of what children are given, and of programs. In a child the fork of package syscall
// uses some numbers behind the highest one that it is given, whatever is open there; a program must still mean itself between fork and
// exec. All are below 64: with that number the kernel needs a larger table, for which a process with several threads waits until all
// processors have let go of the old one, 10 ms.
const (
	firstGiven   = 32
	firstProgram = 48
)

// least is the least number of a descriptor that stays open.
func least(name string) int {
	if name == binaryName {
		return firstProgram
	}
	return firstGiven
}

func newMemfd(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make memory: %w", err)
	}
	defer unix.Close(fd)
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, least(name))
	if err != nil {
		return nil, fmt.Errorf("make memory: %w", err)
	}
	return os.NewFile(uintptr(high), name), nil
}

// environment is what a child gets. It names no folder of the initramfs.
func environment() []string { return []string{"PATH=/sbin:/usr/sbin:/bin:/usr/bin"} }

// sinceBoot is the time since the kernel was started.
func sinceBoot() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // cannot fail for this clock
	return time.Duration(t.Nano())
}
