package vmtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// maxMachines run at once on one computer; with more, each is slower than they are worth together.
	maxMachines = 2
	// maxConsole bounds what is kept of a console, in bytes.
	maxConsole = 4 << 20
	// tail is how many lines of the console a failure shows.
	tail = 40
	// slotPoll is how often a machine that waits for its turn looks.
	slotPoll = 200 * time.Millisecond
)

// Options of a machine.
type Options struct {
	Rounds int // of work before it powers off; 0 means until Stop
	Memory int // MiB; 0 means 512
}

// Machine is a virtual machine that runs. Its methods may be called from any goroutine.
type Machine struct {
	t       testing.TB
	started time.Time
	cmd     *exec.Cmd
	input   io.WriteCloser
	leave   func()        // lets the next machine have its turn
	exited  chan struct{} // closed when QEMU has ended and its console is read

	mu       sync.Mutex // guards what follows
	console  []string
	size     int
	marks    []string
	problems []string
	changed  chan struct{} // closed and made anew at each mark, problem, and at the end
	err      error         // of QEMU
}

// Boot starts a machine whose disk is the default export of the NBD server on socket, from Fixture's kernel and
// initramfs. The disk must hold what Files.Root holds. The machine ends with the test at the latest.
func Boot(t testing.TB, socket string, o Options) *Machine {
	t.Helper()
	files := Fixture(t)
	leave := slot(t)
	if o.Memory == 0 {
		o.Memory = 512
	}
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-m", strconv.Itoa(o.Memory), "-nodefaults", "-nic", "none",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-kernel", files.Kernel, "-initrd", files.Initrd,
		"-drive", "file=nbd:unix:"+socket+",if=virtio,format=raw,cache=none,discard=unmap",
		"-append", fmt.Sprintf("console=ttyS0 loglevel=5 panic=-1 oops=panic spate.rounds=%d", o.Rounds))
	m := &Machine{t: t, cmd: cmd, leave: leave, started: time.Now(), exited: make(chan struct{}), changed: make(chan struct{})}
	var err error
	if m.input, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go m.read(out) // ends with QEMU, which the cleanup ends
	t.Cleanup(func() {
		m.Kill()
		if t.Failed() {
			t.Logf("the end of the machine's console:\n%s", m.tail())
		}
	})
	return m
}

// slot waits until fewer than maxMachines run on this computer, and holds the place until leave is called or the test
// ends.
func slot(t testing.TB) (leave func()) {
	t.Helper()
	for ; ; time.Sleep(slotPoll) {
		for i := range maxMachines {
			if leave := enter(t, i); leave != nil {
				return leave
			}
		}
	}
}

// enter takes one place if it is free. A place is the name of a unix socket in the abstract namespace: it is the same
// for all users and work trees, and free again when its process ends.
func enter(t testing.TB, place int) (leave func()) {
	t.Helper()
	l, err := net.Listen("unix", fmt.Sprintf("@spate/vmtest/%d", place))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	leave = func() { _ = l.Close() } // a second time does no harm
	t.Cleanup(leave)
	return leave
}

// Quiet waits until no machine runs on this computer and keeps others from starting until the test ends, for tests and
// benchmarks that measure time. It must not be called by a test that boots machines itself.
func Quiet(t testing.TB) {
	t.Helper()
	for i := range maxMachines {
		for enter(t, i) == nil {
			time.Sleep(slotPoll)
		}
	}
}

// trouble is what a kernel says whose disk fails, and what our own init says.
var trouble = regexp.MustCompile(`I/O error|EXT4-fs error|EXT4-fs warning|Remounting filesystem read-only|Aborting journal|` +
	`critical (medium|target|space allocation) error|blocked for more than|Kernel panic|BUG:|Oops|MARK bad|qemu-system`)

// read collects the console until QEMU ends.
func (m *Machine) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		m.line(strings.TrimRight(lines.Text(), "\r"))
	}
	err := errors.Join(lines.Err(), m.cmd.Wait())
	m.mu.Lock()
	m.err = err
	m.wakeLocked()
	m.mu.Unlock()
	close(m.exited)
}

func (m *Machine) line(s string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size += len(s) + 1; m.size <= maxConsole {
		m.console = append(m.console, fmt.Sprintf("%7.3f %s", time.Since(m.started).Seconds(), s))
	}
	// The firmware leaves escape codes before the first one.
	if _, mark, ok := strings.Cut(s, "MARK "); ok {
		m.marks = append(m.marks, mark)
		m.wakeLocked()
	}
	if trouble.MatchString(s) {
		m.problems = append(m.problems, s)
		m.wakeLocked()
	}
}

func (m *Machine) wakeLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// WaitMark waits for a mark that begins with prefix and returns it. The test fails when the machine has trouble with its
// disk, ends, or takes longer.
func (m *Machine) WaitMark(prefix string, within time.Duration) string {
	m.t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		m.mu.Lock()
		changed := m.changed
		for _, mark := range m.marks {
			if strings.HasPrefix(mark, prefix) {
				m.mu.Unlock()
				return mark
			}
		}
		problems := strings.Join(m.problems, "\n")
		m.mu.Unlock()
		if problems != "" {
			m.t.Fatalf("the machine has trouble:\n%s", problems)
		}
		select {
		case <-changed:
		case <-m.exited:
			m.t.Fatalf("the machine ended before MARK %s (%v)", prefix, m.err)
		case <-late.C:
			m.t.Fatalf("no MARK %s within %v; the end of the console:\n%s", prefix, within, m.tail())
		}
	}
}

// Rounds is how many rounds of work the machine has finished.
func (m *Machine) Rounds() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, mark := range m.marks {
		if strings.HasPrefix(mark, "round ") {
			n++
		}
	}
	return n
}

// WaitRounds waits until the machine has finished n rounds.
func (m *Machine) WaitRounds(n int, within time.Duration) {
	m.t.Helper()
	m.WaitMark(fmt.Sprintf("round %d ", n), within)
}

// Stop asks the machine to end its work after this round, and to power off.
func (m *Machine) Stop() {
	m.t.Helper()
	if _, err := io.WriteString(m.input, "\n"); err != nil {
		m.t.Fatalf("the machine does not listen: %v", err)
	}
}

// WaitDone waits until the machine has done its work and powered off; the test fails when any of it went wrong.
func (m *Machine) WaitDone(within time.Duration) {
	m.t.Helper()
	start := time.Now()
	if mark := m.WaitMark("done ", within); !strings.Contains(mark, " bad=0 ") {
		m.t.Fatalf("the machine ends with %q", mark)
	}
	select {
	case <-m.exited:
	case <-time.After(within - time.Since(start)):
		m.t.Fatal("the machine does not power off")
	}
	if p := m.Problems(); len(p) > 0 {
		m.t.Fatalf("the machine had trouble:\n%s", strings.Join(p, "\n"))
	}
}

// Problems are the lines of the console in which the kernel or the work complains.
func (m *Machine) Problems() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.problems...)
}

// WaitProblem waits until the machine complains, and returns how; for tests that mean it to.
func (m *Machine) WaitProblem(within time.Duration) []string {
	m.t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if p := m.Problems(); len(p) > 0 {
			return p
		}
		select {
		case <-changed:
		case <-m.exited:
			m.t.Fatalf("the machine ended without a complaint (%v)", m.err)
		case <-late.C:
			m.t.Fatalf("no complaint within %v; the end of the console:\n%s", within, m.tail())
		}
	}
}

// Console is everything that the machine has said, each line with the seconds since its start.
func (m *Machine) Console() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.console, "\n")
}

func (m *Machine) tail() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.console[max(0, len(m.console)-tail):], "\n")
}

// Kill ends the machine as pulling its plug would, and gives its place to the next one.
func (m *Machine) Kill() {
	_ = m.cmd.Process.Kill() // of one that has ended: nothing happens
	<-m.exited
	m.leave()
}

// PID is the process id of QEMU.
func (m *Machine) PID() int { return m.cmd.Process.Pid }
