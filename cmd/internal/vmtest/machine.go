package vmtest

import (
	"bufio"
	"cmp"
	"context"
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
	"time"
)

const (
	// maxMachines run at once on one computer; with more, each is slower than they are worth together.
	maxMachines = 2
	// maxConsole bounds what is kept of a console, in bytes.
	maxConsole = 4 << 20
	// tail is how many lines of the console a failure shows.
	tail = 40
	// placePoll is how often a machine that waits for its turn looks.
	placePoll = 200 * time.Millisecond
)

// Options of a machine.
type Options struct {
	Rounds int // of work before it powers off; 0 means until Stop
	Memory int // MiB; 0 means 512
}

// Machine is a virtual machine that runs. Its methods may be called from any goroutine.
type Machine struct {
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

// Start starts a machine whose disk is the default export of the NBD server on socket, with kernel and initramfs of f. The
// disk must hold what f.Root holds. It waits for its turn while too many machines run on this computer. Somebody must call
// Kill.
func Start(ctx context.Context, f Files, socket string, o Options) (*Machine, error) {
	leave, err := place(ctx)
	if err != nil {
		return nil, err
	}
	m, err := launch(f, socket, o)
	if err != nil {
		leave()
		return nil, err
	}
	m.leave = leave
	return m, nil
}

// launch starts QEMU.
func launch(f Files, socket string, o Options) (*Machine, error) {
	if o.Memory == 0 {
		o.Memory = 512
	}
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-m", strconv.Itoa(o.Memory), "-nodefaults", "-nic", "none",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-kernel", f.Kernel, "-initrd", f.Initrd,
		"-drive", "file=nbd:unix:"+socket+",if=virtio,format=raw,cache=none,discard=unmap",
		"-append", fmt.Sprintf("console=ttyS0 loglevel=5 panic=-1 oops=panic spate.rounds=%d", o.Rounds))
	// Should we be killed, so is the machine.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m := &Machine{started: time.Now(), cmd: cmd, exited: make(chan struct{}), changed: make(chan struct{})}
	var err error
	if m.input, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go m.read(out) // ends with QEMU, which Kill ends
	return m, nil
}

// place waits until fewer than maxMachines run on this computer, and holds a place until leave is called.
func place(ctx context.Context) (leave func(), err error) {
	for {
		for i := range maxMachines {
			if leave, err := enter(i); leave != nil || err != nil {
				return leave, err
			}
		}
		if err := wait(ctx); err != nil {
			return nil, err
		}
	}
}

func wait(ctx context.Context) error {
	select {
	case <-time.After(placePoll):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other machines on this computer: %w", context.Cause(ctx))
	}
}

// enter takes one place if it is free; leave is nil when it is not. A place is the name of a unix socket in the abstract
// namespace: it is the same for all users and work trees, and free again when its process ends.
func enter(place int) (leave func(), err error) {
	l, err := net.Listen("unix", fmt.Sprintf("@spate/vmtest/%d", place))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = l.Close() }, nil // a second time does no harm
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

// errOff is the end of a machine whose QEMU has ended well.
var errOff = errors.New("it was switched off")

// await waits until look has found what it looks for; it is called with m.mu held.
func (m *Machine) await(ctx context.Context, what string, look func() (string, bool, error)) (string, error) {
	for {
		m.mu.Lock()
		changed := m.changed
		found, ok, err := look()
		m.mu.Unlock()
		if ok || err != nil {
			return found, err
		}
		select {
		case <-changed:
		case <-m.exited:
			m.mu.Lock()
			found, ok, err := look() // said just before the end
			m.mu.Unlock()
			if ok || err != nil {
				return found, err
			}
			return "", fmt.Errorf("the machine ended before %s: %w; the end of its console:\n%s", what, cmp.Or(m.err, errOff), m.tail())
		case <-ctx.Done():
			return "", fmt.Errorf("no %s: %w; the end of the console:\n%s", what, context.Cause(ctx), m.tail())
		}
	}
}

// AwaitMark waits for a mark that begins with prefix and returns it. It is an error when the machine has trouble with its
// disk before, or ends.
func (m *Machine) AwaitMark(ctx context.Context, prefix string) (string, error) {
	return m.await(ctx, "MARK "+prefix, func() (string, bool, error) {
		for _, mark := range m.marks {
			if strings.HasPrefix(mark, prefix) {
				return mark, true, nil
			}
		}
		return "", false, m.troubleLocked()
	})
}

// AwaitProblem waits until the machine complains, and returns how.
func (m *Machine) AwaitProblem(ctx context.Context) (string, error) {
	return m.await(ctx, "complaint", func() (string, bool, error) {
		return strings.Join(m.problems, "\n"), len(m.problems) > 0, nil
	})
}

// AwaitDone waits until the machine has done its work and powered off; that any of it went wrong is an error.
func (m *Machine) AwaitDone(ctx context.Context) error {
	mark, err := m.AwaitMark(ctx, "done ")
	if err != nil {
		return err
	}
	if !strings.Contains(mark, " bad=0 ") {
		return fmt.Errorf("the machine ends with %q", mark)
	}
	select {
	case <-m.exited:
	case <-ctx.Done():
		return fmt.Errorf("the machine does not power off: %w", context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.troubleLocked()
}

// troubleLocked is what the machine has complained of, as an error.
func (m *Machine) troubleLocked() error {
	if len(m.problems) == 0 {
		return nil
	}
	return fmt.Errorf("the machine has trouble:\n%s", strings.Join(m.problems, "\n"))
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

// Stop asks the machine to end its work after this round, and to power off.
func (m *Machine) Stop() error {
	if _, err := io.WriteString(m.input, "\n"); err != nil {
		return fmt.Errorf("the machine does not listen: %w", err)
	}
	return nil
}

// Uptime is how long ago the machine was started.
func (m *Machine) Uptime() time.Duration { return time.Since(m.started) }

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
