package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spate-project/spate/cmd/internal/agent"
)

// notesKept is how many lines of what happened the view shows.
const notesKept = 6

// view shows how the target fares: a screen that is drawn anew each second, or
// lines.
type view struct {
	farm       *farm
	live       bool
	attachment *agent.Attachment
	checked    checked

	mu    sync.Mutex
	notes []string // guarded by mu
}

// note takes a line about what happened.
func (v *view) note(s string) {
	// A pause is worth more beside the number of errors that it did not cause.
	if strings.Contains(s, "→") {
		at := strings.LastIndex(s, "  ")
		s = fmt.Sprintf("%s  pause%s  %d errors", s[:at], s[at+1:], v.checked.wrong.Load()+v.checked.failed.Load())
	}
	v.mu.Lock()
	v.notes = append(v.notes, s)
	v.notes = v.notes[max(0, len(v.notes)-notesKept):]
	v.mu.Unlock()
	if !v.live {
		fmt.Println(s)
	}
}

// show draws until ctx ends.
func (v *view) show(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		if v.live {
			v.draw()
		} else {
			fmt.Print(v.line())
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// draw draws the screen (ECMA-48: cursor home, erase to the end).
func (v *view) draw() {
	s := v.attachment.Status()
	var b strings.Builder
	b.WriteString("\x1b[H\x1b[J")
	b.WriteString(s.Text())
	fmt.Fprintf(&b, "checked    %.1f GB, %d errors\n\n", float64(v.checked.bytes.Load())/1e9, v.checked.wrong.Load()+v.checked.failed.Load())
	b.WriteString("In a second shell:\n")
	for _, s := range v.farm.servers {
		fmt.Fprintf(&b, "  %s (%s)\n", s.name, s.state())
		fmt.Fprintf(&b, "    %s\n", v.farm.spate("stop-stream", s))
		fmt.Fprintf(&b, "    %s\n", v.farm.spate("start-stream", s))
		fmt.Fprintf(&b, "    kill -9 %d        and start it again: %s &\n", s.cmd.Process.Pid, strings.Join(s.args, " "))
		fmt.Fprintf(&b, "    kill -STOP %d     and thaw it: kill -CONT %d\n", s.cmd.Process.Pid, s.cmd.Process.Pid)
	}
	v.mu.Lock()
	fmt.Fprintf(&b, "\n%s\n", strings.Join(v.notes, "\n"))
	v.mu.Unlock()
	fmt.Print(b.String())
}

// spate is a command line for the console.
func (f *farm) spate(verb string, s *server) string {
	return fmt.Sprintf("%s/spate server %s %s --admin %s", f.o.bin, verb, s.name, s.admin)
}

// last says at the end how it went.
func (v *view) last() {
	s := v.attachment.Status()
	fmt.Printf("%.1f GB read and checked, %d wrong, %d failed reads, %d changes of server, longest pause %s\n",
		float64(v.checked.bytes.Load())/1e9, v.checked.wrong.Load(), v.checked.failed.Load(), s.Failovers, s.Pause.Round(time.Millisecond))
}

// line is the status in one line.
func (v *view) line() string {
	s := v.attachment.Status()
	server := s.Server
	if !s.Serving {
		server = "no server"
	}
	return fmt.Sprintf("%s %s  %.0f MB/s  %.1f GB checked  %d errors  longest pause %s\n", time.Now().Format("15:04:05"), server, s.Rate/1e6,
		float64(v.checked.bytes.Load())/1e9, v.checked.wrong.Load()+v.checked.failed.Load(), s.Pause.Round(time.Millisecond))
}
