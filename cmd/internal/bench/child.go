package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a server may take to start and to end.
const patience = 20 * time.Second

// child is a server that was started for the benchmark. It leads a process group of its own, whose processor
// time is its own.
type child struct {
	name string
	cmd  *exec.Cmd
	out  *lines
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read it after done
	// daemon is the process group that a program left behind which cannot stay in the foreground; 0 for none.
	daemon int
}

// daemonize waits for a program to leave a daemon behind, whose process id it writes to a file. Daemons lead
// sessions, and so process groups.
func (c *child) daemonize(ctx context.Context, pidFile string) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.err != nil {
		return fmt.Errorf("%s left no daemon behind: %w: %s", c.name, c.err, c.out.text())
	}
	c.daemon = -1 // not known yet: the daemon writes the file itself
	return c.wait(ctx, "a daemon", func() bool {
		b, err := os.ReadFile(pidFile)
		if err != nil {
			return false
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			return false // not written yet
		}
		c.daemon = pid
		return true
	})
}

// group is the process group of the program.
func (c *child) group() int {
	if c.daemon != 0 {
		return c.daemon
	}
	return c.cmd.Process.Pid
}

// serverNiceness is what spated gives itself where it may and nobody gave it another (README, systemd). All servers
// get it, so that Spate's has no advantage; clients run like any program.
const serverNiceness = -10

// start starts a client, in the network namespace ns unless that is empty.
func start(ns, name string, args ...string) (*child, error) {
	if ns != "" {
		name, args = "ip", append([]string{"netns", "exec", ns, name}, args...)
	}
	return startAs(filepath.Base(name), name, name, args...)
}

// startServer starts a server, in the network namespace ns unless that is empty.
func startServer(ns, name string, args ...string) (c *child, err error) {
	err = niced(func() error {
		c, err = start(ns, name, args...)
		return err
	})
	return c, err
}

// niced calls f, and what f starts has the niceness of servers: a process takes that of the thread that makes it
// (sched(7)).
func niced(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	rank, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return err
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, serverNiceness); err != nil {
		return fmt.Errorf("run a server before ordinary programs: %w", err)
	}
	return errors.Join(f(), unix.Setpriority(unix.PRIO_PROCESS, 0, 20-rank)) // getpriority(2): the kernel tells 20 less the niceness
}

// startAs starts a program under another name than that of its file.
func startAs(name, argv0, path string, args ...string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(path, args...), out: &lines{}, done: make(chan struct{})}
	c.cmd.Args[0] = argv0
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() { // ends with the process, which close ends
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// wait waits until ready holds or the program ends.
func (c *child) wait(ctx context.Context, what string, ready func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-c.ended():
			return fmt.Errorf("%s ended before it was ready: %w", c.name, errors.Join(c.err, errors.New(c.out.text())))
		case <-limit.C:
			return fmt.Errorf("%s: not %s after %s: %s", c.name, what, patience, c.out.text())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// close ends the program, at the latest by force.
func (c *child) close() {
	if c == nil {
		return
	}
	if c.daemon >= 0 {
		_ = syscall.Kill(-c.group(), syscall.SIGTERM) // it may have ended already
	}
	if c.daemon != 0 {
		return // it is no child of ours, so there is nothing to wait for
	}
	select {
	case <-c.done:
	case <-time.After(patience):
		_ = syscall.Kill(-c.group(), syscall.SIGKILL)
		<-c.done
	}
}

// ended is closed when the program has ended; never for a daemon.
func (c *child) ended() <-chan struct{} {
	if c.daemon != 0 {
		return nil
	}
	return c.done
}

// ticks is the number of clock ticks a second in /proc; the kernel shows 100 on every architecture.
const ticks = 100

// cpu is the processor time that the program's process group has used, in seconds.
func (c *child) cpu() (float64, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	total, found := 0, false
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile; its parent has its time
		}
		// pid (name) state ppid pgrp …: the name may hold spaces and parentheses.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 15 || fields[2] != strconv.Itoa(c.group()) {
			continue
		}
		found = true
		for _, f := range fields[11:15] { // utime stime cutime cstime
			n, err := strconv.Atoi(f)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", path, err)
			}
			total += n
		}
	}
	if !found {
		return 0, fmt.Errorf("%s has ended: %s", c.name, c.out.text())
	}
	return float64(total) / ticks, nil
}

// command runs a program to its end, in the namespace ns unless that is empty, and returns what it printed.
func command(ctx context.Context, ns, name string, args ...string) (string, error) {
	if ns != "" {
		name, args = "ip", append([]string{"netns", "exec", ns, name}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// freePort returns a port on which nobody listens now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// listening tells whether a TCP port of the namespace is listened on.
func listening(ns string, port int) bool {
	path := "/proc/net/tcp"
	both := ""
	for _, p := range []string{path, "/proc/net/tcp6"} {
		var b []byte
		var err error
		if ns == "" {
			b, err = os.ReadFile(p)
		} else {
			var s string
			s, err = command(context.Background(), ns, "cat", p)
			b = []byte(s)
		}
		if err == nil {
			both += string(b)
		}
	}
	want := fmt.Sprintf(":%04X ", port)
	for line := range strings.Lines(both) {
		if f := strings.Fields(line); len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1]+" ", want) {
			return true
		}
	}
	return false
}

// present tells whether a file or socket is there.
func present(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// lines keeps what a program prints.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.buf.String())
}
