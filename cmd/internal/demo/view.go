package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

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
	fmt.Fprintf(&b, "In a second shell:\n    cd %s\n", v.farm.here)
	for _, s := range v.farm.servers {
		fmt.Fprintf(&b, "  %s\n", s.name)
		for _, line := range v.farm.lines(s) {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	room := screenRows() - strings.Count(b.String(), "\n") - 2 // an empty line above, the cursor's below
	v.mu.Lock()
	fmt.Fprintf(&b, "\n%s\n", strings.Join(v.notes[max(0, len(v.notes)-max(room, 1)):], "\n"))
	v.mu.Unlock()
	fmt.Print(b.String())
}

// usualRows is the height of a terminal that does not tell it.
const usualRows = 24

func screenRows() int {
	size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row == 0 {
		return usualRows
	}
	return int(size.Row)
}

// lines are what a person may do to a server, each ready to be pasted.
func (f *farm) lines(s *server) []string {
	list := []string{f.spate("stop-stream", s), f.spate("start-stream", s)}
	if pid, alive := s.state(); alive {
		return append(list, fmt.Sprintf("kill -9 %d", pid), fmt.Sprintf("kill -STOP %d; sleep 5; kill -CONT %d", pid, pid))
	}
	return append(list, strings.Join(s.args, " ")+" &") // it has ended, and can be started again
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
