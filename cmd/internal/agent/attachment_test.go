package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/wire"
)

// A line about damage names server, vDisk, version and place, and what to do; a system that tries a bad place again and
// again gets it once.
func TestDamageIsToldOnceWithWhatWhereAndWhatToDo(t *testing.T) {
	var lines []string
	a := &Attachment{line: func(s string) { lines = append(lines, s) }, told: map[string]time.Time{}}
	a.event(stream.Event{Kind: engine.EventServing, To: "lab-a", Disk: wire.Disk{Name: "debian12", Number: 3}})
	lines = nil
	for range 3 {
		a.event(stream.Event{Kind: engine.EventDamaged, From: "lab-a", Code: wire.CodeDamaged, Level: 0, Index: 17})
		a.event(stream.Event{Kind: engine.EventNoGoodCopy, Text: "lab-a, lab-b"})
		a.Failed(fmt.Errorf("chunk 17: %w", engine.ErrNoGoodCopy))
	}
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for i, want := range [][]string{
		{"lab-a has a damaged copy of chunk 17 of debian12 version 3", "another server is asked"},
		{"read failed: chunk 17", "lab-a, lab-b", "bring a sound copy"},
	} {
		for _, w := range append(want, "spate vdisk verify debian12@3 --store DIR") {
			if !strings.Contains(lines[i], w) {
				t.Errorf("does not say %q: %s", w, lines[i])
			}
		}
	}
}
