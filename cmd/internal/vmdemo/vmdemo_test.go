package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/vmdemo/clock"
)

// lines shows a console on a screen that is no terminal, and returns what stands there without the times.
func lines(t *testing.T, s *screen, out *bytes.Buffer, writes ...string) []string {
	t.Helper()
	for _, w := range writes {
		if note, ok := strings.CutPrefix(w, "note:"); ok {
			s.note("%s", note)
		} else if _, err := s.Write([]byte(w)); err != nil {
			t.Fatal(err)
		}
	}
	var list []string
	for l := range strings.Lines(out.String()) {
		list = append(list, strings.TrimSpace(l[9:]))
	}
	return list
}

// Without a terminal the console comes in whole lines, without what only a terminal understands, and notes stand between them.
func TestWithoutATerminalTheConsoleComesInWholeLines(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, since: time.Now()}
	got := lines(t, s, &out, "\x1b[2J\x1b[1;1HSea", "BIOS\r\n", "note:a server dies", "fetching  9%\b\b\b\b 10%\r\n\r\nlogin: ",
		"\r12:00:00  tick\x1b[K\r", "\n", "half", "note:two\nlines", "\r\n")
	want := []string{"SeaBIOS", "a server dies", "fetching 10%", "login:", "12:00:00  tick", "two", "lines", "half"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// On a terminal the console comes as it is once the system runs: a prompt that a note interrupts stands there again.
func TestOnATerminalAPromptReturnsAfterANote(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, live: true, since: time.Now()}
	_, _ = s.Write([]byte("\x1b[2Jfirmware\r\n" + firstSays + ".\r\n"))
	if strings.Contains(out.String(), "\x1b[2J") {
		t.Error("the firmware clears the screen")
	}
	out.Reset()
	_, _ = s.Write([]byte("\x1b[1mroot#\x1b[0m ls"))
	s.note("a server dies")
	if got, want := out.String(), "\x1b[1mroot#\x1b[0m ls\n\x1b[1m==> a server dies\x1b[0m\n\x1b[1mroot#\x1b[0m ls"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	out.Reset()
	_, _ = s.Write([]byte("\r\n[ 9.1] " + restartSays + "\r\n\x1b[2Jfirmware\r\n"))
	if strings.Contains(out.String(), "\x1b[2J") || !strings.Contains(out.String(), "firmware\n") {
		t.Errorf("after a restart there is %q", &out)
	}
	s.end()
	out.Reset()
	_, _ = s.Write([]byte("more"))
	s.note("more")
	if out.Len() > 0 {
		t.Errorf("after its end it shows %q", &out)
	}
}

func tick(reads, wrong, failed int64) string {
	return clock.Report{Time: "12:00:00", Reads: reads, Wrong: wrong, Failed: failed, Written: reads, Kept: reads, Slowest: time.Second}.String()
}

// A machine that starts again counts on, and the times are those of its first start.
func TestAMachineThatStartsAgainCountsOn(t *testing.T) {
	r := newRecord()
	for i, text := range []string{firstSays, "login:", tick(10, 0, 0), "login:", tick(30, 0, 0), firstSays, tick(5, 0, 0)} {
		r.line(text[:len(text)-1], time.Duration(i+1)*time.Second, false) // what is not whole yet counts no second time
		r.line(text, time.Duration(i+1)*time.Second, true)
	}
	select {
	case <-r.up:
	default:
		t.Error("the machine is not up")
	}
	if err := r.verdict(10 * time.Second); err != nil {
		t.Error(err)
	}
	got := r.summary(0)
	for _, want := range []string{"boots           2\n", "first program 1.0 s, the clock 3.0 s, the log-in prompt 2.0 s", "35 blocks", "35 lines"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestWhatWentWrongIsAnError(t *testing.T) {
	for _, c := range []struct {
		name  string
		ticks []string
		until time.Duration
		bad   bool
	}{
		{"all good", []string{tick(9, 0, 0)}, 2 * time.Second, false},
		{"wrong bytes", []string{tick(9, 1, 0)}, 2 * time.Second, true},
		{"wrong bytes before a restart", []string{tick(9, 1, 0), tick(1, 0, 0)}, 2 * time.Second, true},
		{"an I/O error", []string{tick(9, 0, 1)}, 2 * time.Second, true},
		{"a clock that stands", []string{tick(9, 0, 0)}, 2*time.Second + silence, true},
		{"a clock that a person stopped", []string{tick(9, 0, 0)}, 0, false},
	} {
		r := newRecord()
		for _, text := range c.ticks {
			r.line(text, time.Second, true)
		}
		if err := r.verdict(c.until); (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The machine tells of a failover some seconds late; that is said where it matters.
func TestAFailoverThatWasNotToldYetIsSaid(t *testing.T) {
	r := newRecord()
	r.line(firstSays, time.Second, true)
	r.happens()
	if !r.behind() || !strings.Contains(r.summary(0), "0, after 1 troubles") {
		t.Error("nobody says that the machine has not told yet")
	}
	r.target(&farm.TargetInfo{Failovers: 1, Pause: 80 * time.Millisecond})
	r.target(&farm.TargetInfo{Failovers: 0, Pause: 0}) // another server's older word
	if got := r.paused(); r.behind() || got != "failovers so far: 1; longest pause of a read: 80 ms" {
		t.Error(got)
	}
}
