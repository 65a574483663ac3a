package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Descriptors that a child is given: of the keeper a link, the binary and perhaps the initramfs, of the worker a link and the write
	// cache.
	linkFD      = 3
	binaryFD    = 4
	initramfsFD = 5
	dataFD      = 4
	mapFD       = 5

	// A worker that dies is followed by another one at once; one that dies again and again by later and later ones.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 10 * time.Second
	// longLife is how long a worker must have lived for its death to be the first.
	longLife = time.Minute
	// tellPatience is how long a line may wait for PID 1 before it goes to the kernel's log.
	tellPatience = time.Second
	// lastWords is how much of what a worker said before it died is told, in bytes and lines.
	lastWordsBytes = 2048
	lastWordsLines = 6
)

// keeper is the process that must not end.
type keeper struct {
	init   *link    // to PID 1
	binary *os.File // what workers are run from
	proven *os.File // while binary is an upgrade that has not lived long: what was before it
	data   *os.File // memory of the write cache
	table  *os.File // and of its map
	log    *os.File // /dev/kmsg, or nil
	old    *os.File // the initramfs as long as it has its files, or nil; belongs to listen

	mu     sync.Mutex // guards what follows
	config Config
	state  json.RawMessage
	stages []Event
	system bool  // PID 1 is the system's init, or has gone: lines go to the kernel's log
	worker *link // nil while there is none
	serves bool  // the worker has attached the disk
}

// RunKeeper is the keeper's process. It returns only when it cannot begin.
func RunKeeper() error { return runKeeper(enclose) }

func runKeeper(enclose func() error) error {
	k := &keeper{}
	var err error
	var st unix.Stat_t
	if unix.Fstat(initramfsFD, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR { // else the number is free, or the runtime's
		if k.old, err = above(initramfsFD, "initramfs"); err != nil {
			return err
		}
	}
	if k.binary, err = above(binaryFD, binaryName); err != nil {
		return err
	}
	if k.init, err = newLink(os.NewFile(linkFD, "link")); err != nil {
		return err
	}
	if err := enclose(); err != nil {
		return err
	}
	for _, bad := range protect(keeperMemory) {
		k.tell(Event{Kind: Problem, At: sinceBoot(), Text: "keeper: " + bad.Error()})
	}
	if k.log, err = os.OpenFile(kernelLog, os.O_WRONLY, 0); err != nil {
		k.log = nil // tests; the kernel always has it
	}
	if k.data, err = newMemory("write cache"); err != nil {
		return err
	}
	if k.table, err = newMemory("write cache map"); err != nil {
		return err
	}
	m, err := k.init.receive(context.Background())
	if err != nil || m.Config == nil {
		return fmt.Errorf("PID 1 did not say what to attach: %w", err)
	}
	k.config = *m.Config
	go k.listen() // ends with PID 1's end of the link; nobody waits for it
	k.keep()
	return nil
}

// keep starts workers, one after the other, for ever.
func (k *keeper) keep() {
	for delay := time.Duration(0); ; {
		k.upgrade(UpgradeFile)
		start := sinceBoot()
		reason := k.work()
		long := sinceBoot()-start >= longLife
		if long {
			delay = 0
		}
		switch {
		case long && k.worked():
			k.keepUpgrade()
		case long || delay >= tooBad:
			k.dropUpgrade()
		}
		text := "worker: " + reason + "; starting another one"
		if delay > 0 {
			text += fmt.Sprintf(" in %.1f s", delay.Seconds())
		}
		k.tell(Event{Kind: Problem, At: sinceBoot(), Text: text})
		time.Sleep(delay)
		delay = min(max(2*delay, firstDelay), lastDelay)
	}
}

// work runs one worker, and says why it ended.
func (k *keeper) work() (reason string) {
	mine, theirs, err := newPair()
	if err != nil {
		return err.Error()
	}
	defer mine.Close()
	words, err := newMemfd("last words")
	if err != nil {
		return errors.Join(err, theirs.Close()).Error()
	}
	defer words.Close()
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", k.binary.Fd()))
	cmd.Args = []string{workerName, Command, RoleWorker}
	cmd.ExtraFiles = []*os.File{theirs, k.data, k.table}
	cmd.Stdout, cmd.Stderr = words, words
	cmd.Env = environment()
	cmd.Dir = "/"
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return err.Error()
	}
	spare(omitFile, os.Getpid(), cmd.Process.Pid)
	if k.proven != nil { // what does not take the disk up, for whatever reason, gives way to what has done so
		judge := time.AfterFunc(longLife, func() { k.judge(cmd.Process.Kill) })
		defer judge.Stop()
	}
	if err := k.welcome(mine); err != nil {
		_ = cmd.Process.Kill()
	}
	k.hear(mine) // until the worker's end is closed
	k.mu.Lock()
	k.worker = nil
	k.mu.Unlock()
	err = cmd.Wait()
	k.lastWords(words)
	if err == nil {
		return "it ended"
	}
	return err.Error()
}

// welcome tells a new worker all that is known.
func (k *keeper) welcome(l *link) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.worker, k.serves = l, false
	if err := l.send(message{Config: &k.config}); err != nil {
		return err
	}
	if err := l.send(message{State: k.state}); err != nil {
		return err
	}
	for _, e := range k.stages {
		if err := l.send(message{Event: &e}); err != nil {
			return err
		}
	}
	return nil
}

// hear takes what a worker says until it has gone.
func (k *keeper) hear(l *link) {
	for {
		m, err := l.receive(context.Background())
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			k.tell(Event{Kind: Problem, At: sinceBoot(), Text: "keeper: from the worker: " + err.Error()})
			if !errors.Is(err, errMessage) {
				return
			}
		case m.State != nil:
			k.mu.Lock()
			k.state = m.State
			k.mu.Unlock()
		case m.Event != nil:
			if m.Event.Kind == Reached {
				k.reached(*m.Event)
				k.mu.Lock()
				k.serves = k.serves || m.Event.Stage == Attached // which each worker tells
				k.mu.Unlock()
			}
			k.tell(*m.Event)
		}
	}
}

// listen takes what PID 1 says.
func (k *keeper) listen() {
	for {
		m, err := k.init.receive(context.Background())
		if err != nil {
			break
		}
		if m.Event == nil || m.Event.Kind != Reached {
			continue
		}
		k.reached(*m.Event)
		if m.Event.Stage == SystemRuns && k.old != nil {
			forget(k.old)
			k.old = nil
		}
		k.mu.Lock()
		if k.worker != nil {
			_ = k.worker.send(m) // one that has died is told by welcome
		}
		k.mu.Unlock()
	}
	k.mu.Lock()
	k.system = true
	k.mu.Unlock()
}

// reached notes a stage for workers to come. A stage is reached once.
func (k *keeper) reached(e Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.stages {
		if s.Stage == e.Stage {
			return
		}
	}
	k.stages = append(k.stages, e)
	k.system = k.system || e.Stage == SystemRuns
}

// tell tells PID 1 as long as it listens, and then the kernel's log.
func (k *keeper) tell(e Event) {
	k.mu.Lock()
	system := k.system
	k.mu.Unlock()
	if !system {
		_ = k.init.conn.SetWriteDeadline(time.Now().Add(tellPatience))
		if k.init.send(message{Event: &e}) == nil {
			return
		}
	}
	if e.Text != "" && k.log != nil {
		record(k.log, e.Kind, e.Text)
	}
}

const kernelLog = "/dev/kmsg"

// The levels of syslog(2) as the kernel's log has them: errors are shown on the console even when it is quiet.
const (
	levelProblem = "<3>"
	levelLine    = "<5>"
)

// record writes a line to the kernel's log.
func record(log *os.File, kind Kind, text string) {
	level := levelLine
	if kind == Problem {
		level = levelProblem
	}
	_, _ = log.WriteString(level + "spate: " + strings.ReplaceAll(text, "\n", " ") + "\n")
}

// lastWords tells the beginning of what a worker wrote to its standard error: of a panic, that is what matters.
func (k *keeper) lastWords(f *os.File) {
	b := make([]byte, lastWordsBytes)
	n, _ := f.ReadAt(b, 0) // io.EOF where it wrote less
	for i, line := range strings.Split(strings.TrimSpace(string(b[:n])), "\n") {
		if i == lastWordsLines || line == "" {
			return
		}
		k.tell(Event{Kind: Problem, At: sinceBoot(), Text: "worker: " + line})
	}
}

// above moves an inherited descriptor out of the way of those that children are given.
func above(fd int, name string) (*os.File, error) {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, least(name))
	if err != nil {
		return nil, fmt.Errorf("descriptor %d (%s): %w", fd, name, err)
	}
	_ = unix.Close(fd)
	return os.NewFile(uintptr(high), name), nil
}
