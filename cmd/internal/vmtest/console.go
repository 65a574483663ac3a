package vmtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// maxConsole bounds what is kept of a console, in bytes.
	maxConsole = 4 << 20
	// maxLine bounds a line of a console, in bytes; what is longer is cut in two.
	maxLine = 4 << 10
	// tail is how many lines of the console a failure shows.
	tail = 40
)

// Line is a line of a console, without escape codes.
type Line struct {
	At   time.Duration // from power-on to its last byte
	Text string
}

// Console is what a machine says. Its methods may be called from any goroutine.
type Console struct {
	started time.Time
	exited  chan struct{} // closed when QEMU has ended and its console is read

	mu       sync.Mutex // guards what follows
	lines    []Line
	part     Line // the one that is not complete yet
	escape   escape
	size     int
	marks    []Line // Text is what follows "MARK "
	problems []string
	changed  chan struct{} // closed and made anew when something comes in, and at the end
	err      error         // of QEMU
}

// NewConsole is the console of a machine that is switched on now.
func NewConsole() *Console {
	return &Console{started: time.Now(), exited: make(chan struct{}), changed: make(chan struct{})}
}

// Read takes all that comes from out, and then calls wait for the end of the machine.
func (c *Console) Read(out io.Reader, wait func() error) {
	buf := make([]byte, maxLine)
	for {
		n, err := out.Read(buf)
		c.write(buf[:n])
		if err != nil {
			break // the end, or what wait says
		}
	}
	err := wait()
	c.mu.Lock()
	c.endLineLocked()
	c.err = err
	c.wakeLocked()
	c.mu.Unlock()
	close(c.exited)
}

// escape is where in an escape code a console is (ECMA-48).
type escape int

const (
	escapeNone    escape = iota
	escapeBegun          // after ESC
	escapeControl        // in CSI … letter
	escapeString         // in OSC … BEL
)

// text tells whether b is no part of an escape code.
func (e *escape) text(b byte) bool {
	switch *e {
	case escapeBegun:
		switch b {
		case '[':
			*e = escapeControl
		case ']':
			*e = escapeString
		default:
			*e = escapeNone
		}
	case escapeControl:
		if b >= '@' && b <= '~' {
			*e = escapeNone
		}
	case escapeString:
		if b == '\a' || b == '\\' {
			*e = escapeNone
		}
	default:
		if b == 0x1b {
			*e = escapeBegun
			return false
		}
		return b == '\n' || b == '\t' || b >= ' ' && b != 0x7f
	}
	return false
}

func (c *Console) write(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var text bytes.Buffer
	flush := func() {
		c.part.At = time.Since(c.started)
		c.part.Text += text.String()
		text.Reset()
	}
	for _, b := range p {
		if !c.escape.text(b) {
			continue
		}
		if b == '\n' || text.Len()+len(c.part.Text) >= maxLine {
			flush()
			c.endLineLocked()
		}
		if b != '\n' {
			text.WriteByte(b)
		}
	}
	if text.Len() > 0 {
		flush()
	}
	c.wakeLocked()
}

func (c *Console) endLineLocked() {
	l := c.part
	c.part = Line{}
	if c.size += len(l.Text) + 1; c.size <= maxConsole {
		c.lines = append(c.lines, l)
	}
	// The firmware leaves what it painted before the first one.
	if _, mark, ok := strings.Cut(l.Text, "MARK "); ok {
		c.marks = append(c.marks, Line{l.At, mark})
	}
	c.problems = append(c.problems, Complaints(l.Text)...)
}

// trouble is what a kernel says whose disk fails or answers what was not asked, and what our own init says. Every error of a block
// device names the device and the sector behind the word.
var trouble = regexp.MustCompile(`I/O error|error, dev \w+, sector|IO errors? while|potential data loss|EXT4-fs error|EXT4-fs warning|` +
	`Remounting filesystem read-only|Aborting journal|blocked for more than|nbd\d+: (Unexpected|Double|Suspicious|Raced|Wrong|Other side)|Kernel panic|BUG:|Oops|MARK bad|qemu-system`)

// Complaints are the lines of a text, such as a kernel's log, that tell of trouble.
func Complaints(text string) (all []string) {
	for l := range strings.Lines(text) {
		if l = strings.TrimRight(l, "\n"); trouble.MatchString(l) {
			all = append(all, l)
		}
	}
	return all
}

func (c *Console) wakeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// errOff is the end of a machine whose QEMU has ended well.
var errOff = errors.New("it was switched off")

// await waits until look has found what it looks for; it is called with c.mu held.
func (c *Console) await(ctx context.Context, what string, look func() (Line, bool, error)) (Line, error) {
	for {
		c.mu.Lock()
		changed := c.changed
		found, ok, err := look()
		c.mu.Unlock()
		if ok || err != nil {
			return found, err
		}
		select {
		case <-changed:
		case <-c.exited:
			c.mu.Lock()
			found, ok, err := look() // said just before the end
			c.mu.Unlock()
			if ok || err != nil {
				return found, err
			}
			return Line{}, fmt.Errorf("the machine ended before %s: %w; the end of its console:\n%s", what, cmp.Or(c.err, errOff), c.Tail())
		case <-ctx.Done():
			return Line{}, fmt.Errorf("no %s: %w; the end of the console:\n%s", what, context.Cause(ctx), c.Tail())
		}
	}
}

// AwaitMark waits for a mark that begins with prefix and returns it. It is an error when the machine has trouble with its
// disk before, or ends.
func (c *Console) AwaitMark(ctx context.Context, prefix string) (string, error) {
	l, err := c.MarkAt(ctx, prefix)
	return l.Text, err
}

// MarkAt is AwaitMark with the time.
func (c *Console) MarkAt(ctx context.Context, prefix string) (Line, error) {
	return c.await(ctx, "MARK "+prefix, func() (Line, bool, error) {
		for _, mark := range c.marks {
			if strings.HasPrefix(mark.Text, prefix) {
				return mark, true, nil
			}
		}
		return Line{}, false, c.troubleLocked()
	})
}

// AwaitLine waits for a line that holds what, at the earliest the one with number from, and returns it with the number
// of the one after it. A line that is not complete yet counts, but next is its own number then. Trouble of the machine is no error here.
func (c *Console) AwaitLine(ctx context.Context, from int, what string) (found Line, next int, err error) {
	return c.awaitLine(ctx, from, what, true)
}

// AwaitWhole is AwaitLine for complete lines only.
func (c *Console) AwaitWhole(ctx context.Context, from int, what string) (found Line, next int, err error) {
	return c.awaitLine(ctx, from, what, false)
}

func (c *Console) awaitLine(ctx context.Context, from int, what string, part bool) (found Line, next int, err error) {
	found, err = c.await(ctx, fmt.Sprintf("%q", what), func() (Line, bool, error) {
		for i := from; i < len(c.lines); i++ {
			if strings.Contains(c.lines[i].Text, what) {
				next = i + 1
				return c.lines[i], true, nil
			}
		}
		next = len(c.lines)
		return c.part, part && strings.Contains(c.part.Text, what), nil
	})
	return found, next, err
}

// Next is the number that the next line will have.
func (c *Console) Next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// Lines are the complete lines from the one with number from to that before number to.
func (c *Console) Lines(from, to int) []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	to = min(to, len(c.lines))
	return append([]Line(nil), c.lines[min(from, to):to]...)
}

// AwaitProblem waits until the machine complains, and returns how.
func (c *Console) AwaitProblem(ctx context.Context) (string, error) {
	l, err := c.await(ctx, "complaint", func() (Line, bool, error) {
		return Line{Text: strings.Join(c.problems, "\n")}, len(c.problems) > 0, nil
	})
	return l.Text, err
}

// AwaitEnd waits for the end of the machine.
func (c *Console) AwaitEnd(ctx context.Context) error {
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the machine does not power off: %w; the end of its console:\n%s", context.Cause(ctx), c.Tail())
	}
}

// Ended tells whether the machine has ended.
func (c *Console) Ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// Trouble is what the machine has complained of, as an error.
func (c *Console) Trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.troubleLocked()
}

func (c *Console) troubleLocked() error {
	if len(c.problems) == 0 {
		return nil
	}
	return fmt.Errorf("the machine has trouble:\n%s", strings.Join(c.problems, "\n"))
}

// Uptime is how long ago the machine was switched on.
func (c *Console) Uptime() time.Duration { return time.Since(c.started) }

// Tail is the end of what was said, with the seconds since power-on.
func (c *Console) Tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return text(c.lines[max(0, len(c.lines)-tail):], c.part)
}

// All is all that was said, with the seconds since power-on.
func (c *Console) All() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return text(c.lines, c.part)
}

func text(lines []Line, part Line) string {
	var b strings.Builder
	for _, l := range append(lines[:len(lines):len(lines)], part) {
		fmt.Fprintf(&b, "%8.3f %s\n", l.At.Seconds(), l.Text)
	}
	return b.String()
}
