package netboot

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sinceStart is the time since the kernel's start.
func sinceStart() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // cannot fail for this clock
	return time.Duration(t.Nano())
}

// console are all consoles of the machine. Any goroutine may write lines.
type console struct {
	mu   sync.Mutex // guards what follows
	outs []output
	log  *os.File // /run/spate/boot.log: what was said before there was a journal
}

// output is one console.
type output struct {
	file  *os.File
	stuck bool // it did not take the last line
}

// write gives a console some time for a line, and one that is stuck no more than a look: it loses lines, and the boot nothing.
func (o *output) write(s string) {
	patience := consolePatience
	if o.stuck {
		patience = stuckPatience
	}
	_ = o.file.SetWriteDeadline(time.Now().Add(patience)) // one that knows no deadline does not wait
	_, err := o.file.WriteString(s)
	o.stuck = err != nil
}

// newConsole opens the consoles that the kernel uses.
func newConsole() *console {
	c := &console{}
	names := []string{"console"}
	if b, err := os.ReadFile("/sys/class/tty/console/active"); err == nil && len(strings.Fields(string(b))) > 0 {
		names = strings.Fields(string(b))
	}
	for _, name := range names {
		if name == "tty0" {
			name = "console" // the one that is shown; a machine without a screen has none
			if len(names) > 1 {
				name = "tty0"
			}
		}
		// A serial line that nobody listens to must not hold up the boot.
		if f, err := os.OpenFile("/dev/"+name, os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err == nil {
			c.outs = append(c.outs, output{file: f})
		}
	}
	_ = os.MkdirAll("/run/spate", 0o755)
	if f, err := os.OpenFile("/run/spate/boot.log", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err == nil {
		c.log = f
	}
	return c
}

// line writes one line.
func (c *console) line(text string) { c.at(sinceStart(), text) }

// at writes a line about something that happened at a time since the kernel's start.
func (c *console) at(when time.Duration, text string) {
	s := format(when, text)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.outs {
		c.outs[i].write(s)
	}
	if c.log != nil {
		_, _ = c.log.WriteString(s)
	}
}

func (c *console) linef(format string, args ...any) { c.line(fmt.Sprintf(format, args...)) }

// format makes a line: what comes from elsewhere cannot move the cursor.
func format(when time.Duration, text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > mostLine {
		text = text[:mostLine] + "…"
	}
	return fmt.Sprintf("spate %5.1f s  %s\n", when.Seconds(), text)
}
