package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// terminalEvery is the time between two looks of a line on a terminal.
const terminalEvery = 200 * time.Millisecond

// status is a line about work that goes on: on a terminal it is written over, elsewhere, as in a log, a line is
// added now and then.
type status struct {
	out      io.Writer
	terminal bool
	now      func() time.Time
	every    time.Duration // between two lines that stay
	last     time.Time     // when one was written; zero means that the first one is due at once
	shown    bool
}

// newStatus writes on w, which is a terminal or not.
func newStatus(w io.Writer, every time.Duration) status {
	s := status{out: w, now: time.Now, every: every}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

// due tells whether it is time for another line. Working one out may be dear, so it is asked first.
func (s *status) due() bool {
	every := s.every
	if s.terminal {
		every = terminalEvery
	}
	t := s.now()
	if t.Sub(s.last) < every {
		return false
	}
	s.last = t
	return true
}

// write shows a line in place of the one before.
func (s *status) write(line string) {
	if !s.terminal {
		fmt.Fprintln(s.out, line)
		return
	}
	fmt.Fprintf(s.out, "\r\x1b[K%s", line)
	s.shown = true
}

// say writes a line that stays, such as a warning.
func (s *status) say(line string) {
	s.end()
	fmt.Fprintln(s.out, line)
}

// end removes the line from a terminal.
func (s *status) end() {
	if s.shown {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.shown = false
	}
}
