package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spate-project/spate/vdisk"
)

// lineEvery is the time between two lines in a log about work that takes minutes.
const lineEvery = 10 * time.Second

// progress shows how far an import or a verification is.
type progress struct {
	status
	began time.Time
	stage string
}

// newProgress shows on w, which is a terminal or not.
func newProgress(w io.Writer) *progress {
	p := &progress{status: newStatus(w, lineEvery)}
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
	if p.due() {
		p.write(p.line(now, t.Sub(p.began)))
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
