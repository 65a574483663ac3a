package vmlab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// monitor speaks QMP with QEMU (docs/interop/qmp-spec).
type monitor struct {
	file  *os.File
	lines *bufio.Reader
	ready bool // capabilities are negotiated
}

func newMonitor(f *os.File) *monitor { return &monitor{file: f, lines: bufio.NewReader(f)} }

func (m *monitor) close() { _ = m.file.Close() }

// do executes a command without arguments.
func (m *monitor) do(ctx context.Context, command string) error {
	defer deadline(ctx, m.file)()
	todo := []string{command}
	if !m.ready {
		todo = []string{"qmp_capabilities", command}
	}
	for _, c := range todo {
		if err := m.one(c); err != nil {
			return fmt.Errorf("qemu: %s: %w", c, errors.Join(err, context.Cause(ctx)))
		}
	}
	m.ready = true
	return nil
}

func (m *monitor) one(command string) error {
	if _, err := fmt.Fprintf(m.file, "{\"execute\":%q}\n", command); err != nil {
		return err
	}
	for {
		line, err := m.lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		var answer struct {
			Return *json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return err
		}
		switch { // the greeting and events are neither
		case answer.Error != nil:
			return errors.New(answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}

// deadline makes reads and writes of f end with ctx, until the function that it returns is called.
func deadline(ctx context.Context, f *os.File) (stop func()) {
	_ = f.SetDeadline(time.Time{})
	after := context.AfterFunc(ctx, func() { _ = f.SetDeadline(time.Unix(1, 0)) })
	return func() { after() }
}

// agent speaks with the shell on the second serial port. The port is read all the time: UEFI firmware writes to it, too.
type agent struct {
	*vmtest.Console
	file  *os.File
	begin int  // number of the first line since the last start of the machine
	ready bool // the shell has said since then that it is there
}

func newAgent(f *os.File) *agent {
	a := &agent{Console: vmtest.NewConsole(), file: f}
	go a.Read(f, func() error { return nil }) // ends when the file is closed, or QEMU has ended
	return a
}

func (a *agent) close() { _ = a.file.Close() }

// reset forgets the shell of a machine that is about to start again.
func (a *agent) reset() { a.begin, a.ready = a.Next(), false }

func (a *agent) run(ctx context.Context, line string) (out string, err error) {
	if strings.Contains(line, "\n") {
		return "", errors.New("a command must be one line")
	}
	if !a.ready {
		if _, a.begin, err = a.AwaitWhole(ctx, a.begin, "MARK agent"); err != nil {
			return "", fmt.Errorf("the system's shell does not answer: %w", err)
		}
		a.ready = true
	}
	from := a.Next()
	if _, err := fmt.Fprintln(a.file, line); err != nil {
		return "", err
	}
	last, next, err := a.AwaitWhole(ctx, from, status)
	if err != nil {
		next++ // there is no last line that does not count
	}
	for _, l := range a.Lines(from, next-1) {
		out += l.Text + "\n"
	}
	out = strings.TrimSpace(out)
	if err != nil {
		return out, err
	}
	_, number, _ := strings.Cut(last.Text, status)
	if n, err := strconv.Atoi(number); err != nil || n != 0 {
		return out, fmt.Errorf("it ended with status %s", number)
	}
	return out, nil
}

// status is what the shell says after each command, before its status and the end of the line.
const status = "MARK status "
