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

// agent speaks with the shell on the second serial port.
type agent struct {
	file  *os.File
	lines *bufio.Reader
	ready bool // it has said that it is there
}

func newAgent(f *os.File) *agent { return &agent{file: f, lines: bufio.NewReader(f)} }

func (a *agent) close() { _ = a.file.Close() }

func (a *agent) run(ctx context.Context, line string) (out string, err error) {
	if strings.Contains(line, "\n") {
		return "", errors.New("a command must be one line")
	}
	defer deadline(ctx, a.file)()
	if !a.ready {
		if out, _, err = a.until("MARK agent"); err != nil {
			return out, errors.Join(fmt.Errorf("the system's shell does not answer: %w", err), context.Cause(ctx))
		}
		a.ready = true
	}
	if _, err := fmt.Fprintln(a.file, line); err != nil {
		return "", err
	}
	out, status, err := a.until("MARK status ")
	if err != nil {
		return out, errors.Join(err, context.Cause(ctx))
	}
	if n, err := strconv.Atoi(status); err != nil || n != 0 {
		return out, fmt.Errorf("it ended with status %s", status)
	}
	return strings.TrimSpace(out), nil
}

// until reads lines until one begins with mark, and returns what follows it there.
func (a *agent) until(mark string) (before, rest string, err error) {
	var b strings.Builder
	for {
		line, err := a.lines.ReadString('\n')
		if err != nil {
			return b.String(), "", err
		}
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := strings.CutPrefix(line, mark); ok {
			return b.String(), rest, nil
		}
		b.WriteString(line + "\n")
	}
}
