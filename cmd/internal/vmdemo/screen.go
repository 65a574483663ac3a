package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// maxPart bounds a line of the console that has no end, in bytes.
const maxPart = 4 << 10

// screen shows a console and notes about what happens, one never within a line of the other. On a terminal the console is shown
// as it comes, as soon as the system on the disk runs; before it, and elsewhere, line by line without escape codes.
// Its methods may be called from any goroutine.
type screen struct {
	out   io.Writer
	live  bool // out is a terminal
	since time.Time
	line  func(text string, at time.Duration, whole bool) // gets each line and each part of one, without escape codes; may be nil

	mu      sync.Mutex // guards what follows
	free    bool       // the console is shown as it comes
	raw     []byte     // the line that is not complete, as it came
	part    []byte     // the same, without escape codes
	column  bool       // something of it is on the screen
	cr      bool       // a carriage return came, and nothing after it yet
	escape  escape
	pending []byte // not shown yet
	ended   bool   // nothing is shown any more
}

// escape is where in an escape code a console is (ECMA-48).
type escape int

const (
	escapeNone    escape = iota
	escapeBegun          // after ESC
	escapeControl        // in CSI … letter
)

// text tells whether b is no part of an escape code.
func (e *escape) text(b byte) bool {
	switch {
	case *e == escapeBegun && b == '[':
		*e = escapeControl
	case *e == escapeBegun, *e == escapeControl && b >= '@' && b <= '~':
		*e = escapeNone
	case *e == escapeControl:
	case b == 0x1b:
		*e = escapeBegun
	default:
		return true
	}
	return false
}

// Write takes what the machine writes to its console.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.flushLocked()
	for _, b := range p {
		s.byteLocked(b)
	}
	if s.line != nil && len(s.part) > 0 {
		s.line(string(s.part), time.Since(s.since), false)
	}
	return len(p), nil
}

func (s *screen) byteLocked(b byte) {
	if s.free {
		s.pending = append(s.pending, b)
	}
	if s.raw = append(s.raw, b); b == '\n' || len(s.raw) > maxPart {
		s.raw = s.raw[:0]
		s.column = false
	} else if s.free {
		s.column = true
	}
	if !s.escape.text(b) {
		return
	}
	switch {
	case b == '\n' || len(s.part) >= maxPart:
		s.endLocked()
	case b == '\r':
		s.cr = true
		return
	case b == '\b' && len(s.part) > 0:
		s.part = s.part[:len(s.part)-1]
	case b == '\t' || b >= ' ' && b != 0x7f:
		if s.cr { // what stands there is overwritten
			s.endLocked()
		}
		s.part = append(s.part, b)
	}
	s.cr = false
}

// endLocked is the end of a line.
func (s *screen) endLocked() {
	text := strings.TrimRight(string(s.part), " ")
	s.part = s.part[:0]
	if text == "" {
		return
	}
	at := time.Since(s.since)
	if s.line != nil {
		s.line(text, at, true)
	}
	if !s.free {
		s.printf("%7.1f  %s\n", at.Seconds(), text)
	}
	switch {
	case s.live && strings.Contains(text, firstSays):
		s.free = true
	case strings.Contains(text, restartSays): // the firmware would clear the screen
		s.free, s.column = false, false
	}
}

// note shows a line about what happens, and then again the console's line that is not complete.
func (s *screen) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.flushLocked()
	text := fmt.Sprintf(format, args...)
	if s.column {
		s.printf("\n")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if s.live {
			s.printf("\x1b[1m==> %s\x1b[0m\n", line)
		} else {
			s.printf("==>      %s\n", line) // in the column of the console's lines
		}
	}
	if s.column {
		s.printf("%s", bytes.TrimLeft(s.raw, "\r"))
	}
}

// end shows nothing more of what comes, and leaves the cursor at the begin of a line.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.column {
		s.printf("\n")
	}
	s.flushLocked()
	s.ended = true
}

// flushLocked shows what was written. A terminal that is gone cannot be told of it.
func (s *screen) flushLocked() {
	if !s.ended {
		_, _ = s.out.Write(s.pending)
	}
	s.pending = s.pending[:0]
}

func (s *screen) printf(format string, args ...any) {
	s.pending = fmt.Appendf(s.pending, format, args...)
}
