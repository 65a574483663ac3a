package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spate-project/spate/vdisk"
)

const (
	terminalEvery = 200 * time.Millisecond
	lineEvery     = 10 * time.Second
)

// progress shows how far an operation is: on a terminal a line that is written over, elsewhere, as in a log,
// a line every ten seconds.
type progress struct {
	out      io.Writer
	terminal bool
	now      func() time.Time
	began    time.Time
	last     time.Time
	stage    string
	shown    bool
}

// newProgress shows on w, which is a terminal or not.
func newProgress(w io.Writer) *progress {
	p := &progress{out: w, now: time.Now}
	if f, ok := w.(*os.File); ok {
		st, err := f.Stat()
		p.terminal = err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	p.began = p.now()
	p.last = p.began
	return p
}

// words for the stages of an import.
var stageWords = map[string]string{vdisk.StageConvert: "converting", vdisk.StageStore: "storing", "": "verifying"}

// show is called often and writes seldom.
func (p *progress) show(now vdisk.Progress) {
	t := p.now()
	if now.Stage != p.stage {
		p.stage, p.began = now.Stage, t
	}
	every := lineEvery
	if p.terminal {
		every = terminalEvery
	}
	if t.Sub(p.last) < every {
		return
	}
	p.last = t
	line := p.line(now, t.Sub(p.began))
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
		p.shown = true
	} else {
		fmt.Fprintln(p.out, line)
	}
}

func (p *progress) line(now vdisk.Progress, spent time.Duration) string {
	line := stageWords[now.Stage] + " " + vdisk.Bytes(now.Done)
	rate := float64(now.Done) / max(spent.Seconds(), 0.001)
	if now.Total > 0 {
		line += fmt.Sprintf(" of %s, %d %%", vdisk.Bytes(now.Total), 100*now.Done/now.Total)
	}
	line += fmt.Sprintf(", %s/s", vdisk.Bytes(int64(rate)))
	if now.Stage == vdisk.StageStore {
		line += fmt.Sprintf(", %s stored", vdisk.Bytes(now.Stored))
	}
	if now.Total > 0 && rate > 0 && spent > 2*time.Second {
		left := time.Duration(float64(now.Total-now.Done) / rate * float64(time.Second))
		line += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	return line
}

// say writes a line of its own, for a warning.
func (p *progress) say(line string) {
	p.end()
	fmt.Fprintln(p.out, line)
}

// end removes the line from a terminal.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}
