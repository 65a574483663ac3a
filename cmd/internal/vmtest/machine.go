package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// maxMachines run at once on one computer; with more, each is slower than they are worth together.
	maxMachines = 2
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
	*Console
	cmd   *exec.Cmd
	input io.WriteCloser
	leave func() // lets the next machine have its turn
}

// Start starts a machine whose disk is the default export of the NBD server on socket, with kernel and initramfs of f. The
// disk must hold what f.Root holds. It waits for its turn while too many machines run on this computer. Somebody must call
// Kill.
func Start(ctx context.Context, f Files, socket string, o Options) (*Machine, error) {
	leave, err := Place(ctx)
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
	m := &Machine{Console: NewConsole(), cmd: cmd}
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
	go m.Read(out, cmd.Wait) // ends with QEMU, which Kill ends
	return m, nil
}

// Place waits until fewer than maxMachines run on this computer, and holds a place until leave is called.
func Place(ctx context.Context) (leave func(), err error) {
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

// enter takes one place if it is free; leave is nil when it is not. A place is the lock of a file in the folder for
// temporary files: it is the same for all users, work trees and network namespaces, and free again when its process ends.
func enter(place int) (leave func(), err error) {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("spate-vmtest-%d.lock", place))
	// Another user's file may not be opened as one to be made.
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o644)
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { _ = f.Close() }, nil // a second time does no harm
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
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
	if err := m.AwaitEnd(ctx); err != nil {
		return err
	}
	return m.Trouble()
}

// Rounds is how many rounds of work the machine has finished.
func (m *Machine) Rounds() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, mark := range m.marks {
		if strings.HasPrefix(mark.Text, "round ") {
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

// Kill ends the machine as pulling its plug would, and gives its place to the next one.
func (m *Machine) Kill() {
	_ = m.cmd.Process.Kill() // of one that has ended: nothing happens
	<-m.exited
	m.leave()
}
