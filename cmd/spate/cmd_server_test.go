package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// Whoever waits for a stop reads at once whom it concerns, and then a line now and then; on a terminal one line.
func TestAStopIsToldSeldom(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var b bytes.Buffer
		now := time.Unix(1000, 0)
		v := stopView{status: newStatus(&b, movedEvery)}
		v.terminal, v.now = terminal, func() time.Time { return now }
		for moved := range 101 {
			v.show(farm.StopProgress{Server: "lab-a", Total: 100, Moved: moved, Left: 100 - moved})
			now = now.Add(100 * time.Millisecond)
		}
		v.end()
		lines, overs := strings.Count(b.String(), "\n"), strings.Count(b.String(), "\r\x1b[K")
		if !terminal && (lines != 1+5 || overs != 0) || terminal && (lines != 1 || overs != 50+1) {
			t.Errorf("terminal %v: %d lines, %d times written over", terminal, lines, overs)
		}
		if !strings.HasPrefix(b.String(), "lab-a serves 100 targets; each has another server to go to\n") || !strings.Contains(b.String(), "41 of 100 moved") {
			t.Errorf("terminal %v: %q", terminal, b.String())
		}
	}
}

// The first words of a stop name those who have nowhere to go, however many they are.
func TestStrandedTargetsAreNamed(t *testing.T) {
	for want, n := range map[string]int{
		"lab-a serves 12 targets; each has another server to go to":                                                                     0,
		"lab-a serves 12 targets; 1 has nowhere to go and will be cut off at the deadline: pc":                                          1,
		"lab-a serves 12 targets; 3 have nowhere to go and will be cut off at the deadline: pc, pc, pc":                                 3,
		"lab-a serves 12 targets; 11 have nowhere to go and will be cut off at the deadline: pc, pc, pc, pc, pc, pc, pc, pc and 3 more": 11,
	} {
		p := farm.StopProgress{Server: "lab-a", Total: 12, Stranded: strings.Fields(strings.Repeat("pc ", n))}
		if got := beginning(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFiguresAreShort(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0 ms": 0, "0.02 ms": 20 * time.Microsecond, "0.21 ms": 214 * time.Microsecond, "3 ms": 3 * time.Millisecond, "9.99 ms": 9990 * time.Microsecond,
		"12 ms": 12400 * time.Microsecond, "999 ms": 999 * time.Millisecond, "1.2 s": 1240 * time.Millisecond, "95 s": 95 * time.Second,
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v) is %q, want %q", d, got, want)
		}
	}
	for want, d := range map[string]time.Duration{
		"0 s": 0, "59 s": 59 * time.Second, "1 min": time.Minute, "1 h 00 min": time.Hour, "47 h 59 min": 48*time.Hour - 1, "2 days": 48 * time.Hour,
	} {
		if got := long(d); got != want {
			t.Errorf("long(%v) is %q, want %q", d, got, want)
		}
	}
	for want, n := range map[string]float64{"0 B": 0, "999 B": 999, "1.0 kB": 1000, "1.0 MB": 999_999, "41.2 MB": 41_234_567, "18.4 EB": 1 << 64} {
		if got := amount(n); got != want {
			t.Errorf("amount(%v) is %q, want %q", n, got, want)
		}
	}
}
