package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// endPatience is how long a process may take to end by itself.
const endPatience = 10 * time.Second

// Process is a program that runs.
type Process struct {
	Name   string
	Out    *Journal // standard output
	Log    *Journal // standard error
	cmd    *exec.Cmd
	file   *os.File
	ended  chan struct{}
	failed error // how it ended, once ended is closed
}

// Spawn says what to start.
type Spawn struct {
	Name string // of the process, for people
	Args []string
	Env  []string // in addition to our own
	Log  string   // file that all output is written to, for people; empty: none
	Link *Link    // the network to live in; nil: ours
	User uint32   // to run as, and group; 0: ours
}

// Start starts a process. Somebody must call End.
func (s Spawn) Start() (*Process, error) {
	p := &Process{Name: s.Name, ended: make(chan struct{})}
	if s.Log != "" {
		f, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		p.file = f
	}
	p.Out, p.Log = newJournal(p.file), newJournal(p.file)
	p.cmd = exec.Command(s.Args[0], s.Args[1:]...)
	p.cmd.Env = append(os.Environ(), s.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Out, p.Log
	// A group of its own: an interrupt at the terminal is for us, who end it. Should we be killed, it ends too.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if s.User != 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.User, Gid: s.User}
	}
	start := p.cmd.Start
	if s.Link != nil {
		start = func() error { return s.Link.within(p.cmd.Start) }
	}
	if err := start(); err != nil {
		p.file.Close()
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	go func() { // ends with the process, which End sees to
		p.failed = p.cmd.Wait()
		p.file.Close()
		close(p.ended)
	}()
	return p, nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running tells whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Signal sends a signal. A process that has ended takes none, which is no error.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Await waits for a line on standard output that holds what. That the process ends before it is an error.
func (p *Process) Await(ctx context.Context, what string) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with ctx
		select {
		case <-p.ended:
			cancel(fmt.Errorf("it ended: %w", p.failed))
		case <-ctx.Done():
		}
	}()
	line, err := p.Out.Await(ctx, what)
	if err != nil {
		if line, _, ok := p.Out.line(what); ok { // said just before the end
			return line, nil
		}
		return "", fmt.Errorf("%s did not say %q: %w\n%s%s", p.Name, what, err, p.Out, p.Log)
	}
	return line, nil
}

// Wait waits for the end of the process and returns its exit status.
func (p *Process) Wait(ctx context.Context) (status int, err error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s has not ended: %w", p.Name, context.Cause(ctx))
	}
}

// End ends the process: thawed if it was frozen, by SIGTERM, and by SIGKILL when that does not help, which is an error.
func (p *Process) End() error {
	if !p.Running() {
		return nil
	}
	// Signals fail only where the process has ended meanwhile, which the waits see.
	_ = p.Signal(syscall.SIGCONT)
	_ = p.Signal(syscall.SIGTERM)
	if p.endsWithin(endPatience) {
		return nil
	}
	_ = p.Signal(syscall.SIGQUIT) // a Go program tells then what it waits for
	if !p.endsWithin(endPatience) {
		p.Kill()
	}
	return fmt.Errorf("%s did not end within %s of SIGTERM and was killed\n%s", p.Name, endPatience, p.Log)
}

func (p *Process) endsWithin(d time.Duration) bool {
	select {
	case <-p.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// Kill ends the process at once.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL)
	<-p.ended
}

// Run runs a command to its end and returns what it wrote.
func Run(ctx context.Context, args ...string) (out string, err error) {
	b, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return string(b), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, b)
	}
	return string(b), nil
}

// Programs builds spated, spate and spate-target from the source around the working folder into dir.
func Programs(ctx context.Context, dir string) error {
	mod, err := Run(ctx, "go", "env", "GOMOD")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", dir+"/", "./cmd/spated", "./cmd/spate", "./cmd/spate-target")
	cmd.Dir = filepath.Dir(strings.TrimSpace(mod))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, b)
	}
	return nil
}
