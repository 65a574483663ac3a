package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Descriptors that a keeper gets from a worker, beside link and binary.
const (
	heirDataFD = 5
	heirMapFD  = 6
)

// NewKeeper starts a keeper in place of the one that has died, and tells it all that that one knew: from here on it is the one that
// starts the next worker. Next must be called again. It is called by one goroutine, when Next has told of the death.
func (p *Post) NewKeeper() error {
	// With two keepers there would be two workers one day.
	if p.heir != nil {
		_ = p.heir.Process.Kill() // it has closed its end, and should be dead
		_ = p.heir.Wait()         // killed, which it says
		p.heir = nil
	} else if err := awaitEnd(p.keeper); err != nil {
		return err
	}
	binary, err := holdBinary("/proc/self/exe")
	if err != nil {
		return err
	}
	defer binary.Close()
	mine, theirs, err := newPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", binary.Fd()))
	cmd.Args = []string{keeperName, Command, RoleHeir}
	cmd.ExtraFiles = []*os.File{theirs, binary, p.Data, p.Map}
	cmd.Env = environment()
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // all else it has from us: the enclosure, and what the flusher is allowed
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start a keeper: %w", err), mine.Close())
	}
	p.heir = cmd
	if err := p.introduce(mine); err != nil { // the next attempt ends it
		return errors.Join(fmt.Errorf("start a keeper: %w", err), mine.Close())
	}
	return nil
}

// introduce tells a new keeper what the last one knew, and makes it ours.
func (p *Post) introduce(l *link) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := l.send(message{Config: &p.Config}); err != nil {
		return err
	}
	if err := l.send(message{State: p.kept}); err != nil {
		return err
	}
	for _, e := range p.stages {
		if err := l.send(message{Event: &e}); err != nil {
			return err
		}
	}
	_ = p.link.Swap(l).Close() // whom it led to has died
	return nil
}

// RunHeir is the process of a keeper that a worker has started. It returns only when it cannot begin.
func RunHeir() error {
	l, err := newLink(os.NewFile(linkFD, "link"))
	if err != nil {
		return err
	}
	k := &keeper{system: true, worker: l} // there is no PID 1 that would listen
	for _, f := range []struct {
		fd   int
		name string
		to   **os.File
	}{{binaryFD, binaryName, &k.binary}, {heirDataFD, "write cache", &k.data}, {heirMapFD, "write cache map", &k.table}} {
		if *f.to, err = above(f.fd, f.name); err != nil {
			return err
		}
	}
	if k.log, err = os.OpenFile(kernelLog, os.O_WRONLY, 0); err != nil {
		k.log = nil // tests; the kernel always has it
	}
	for _, bad := range protect(keeperMemory) {
		k.tell(Event{Kind: Problem, At: sinceBoot(), Text: "keeper: " + bad.Error()})
	}
	worker, err := l.peer()
	if err != nil {
		return err
	}
	m, err := l.receive(context.Background())
	if err != nil || m.Config == nil {
		return errors.Join(errors.New("the worker did not say what is attached"), err)
	}
	k.config = *m.Config
	if m, err = l.receive(context.Background()); err != nil || m.State == nil {
		return errors.Join(errors.New("the worker did not say what it keeps"), err)
	}
	k.state = m.State
	spare(omitFile, os.Getpid(), worker)
	k.hear(l)
	// A second worker beside one that lives would be the end of the disk, whatever has become of the link.
	if err := awaitEnd(worker); err != nil {
		return err
	}
	k.mu.Lock()
	k.worker = nil
	k.mu.Unlock()
	k.tell(Event{Kind: Problem, At: sinceBoot(), Text: "worker: it has died; starting another one"})
	k.keep()
	return nil
}

// peer is the process that has made the link.
func (l *link) peer() (pid int, err error) {
	var who *unix.Ucred
	var bad error
	if err := l.raw.Control(func(fd uintptr) { who, bad = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if bad != nil {
		return 0, fmt.Errorf("who is at the other end: %w", bad)
	}
	return int(who.Pid), nil
}

// awaitEnd returns when a process that is no child of ours has ended.
func awaitEnd(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	// Of a process that has ended, and whose number lives on as that of the session of its children, older kernels (6.1) say EINVAL.
	if errors.Is(err, unix.ESRCH) || pid > 0 && errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	for {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); n == 1 || err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
