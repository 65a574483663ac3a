package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/vmdemo/clock"
)

// What the machine says when it comes so far.
const (
	firstSays   = "The first program of the root file system runs"
	loginSays   = "login:"
	restartSays = "reboot: Restarting system"
)

// record is what was seen of the machine. Its methods may be called from any goroutine.
type record struct {
	up chan struct{} // closed when the clock ticks and somebody may log in

	mu                 sync.Mutex // guards what follows
	boots              int
	root, login, clock time.Duration // from power-on, of the first boot; 0: not yet
	now, before        clock.Report  // of this run of the clock, and the sums of those before it
	last               time.Duration // when the newest of them came
	slowest            time.Duration // read that the system saw
	pause              time.Duration // the longest that a server told of
	failovers          uint32        // as a server told
	happened           uint32        // troubles that take a server from the machine
}

func newRecord() *record { return &record{up: make(chan struct{})} }

// line takes a line of the console; one that is not whole grows.
func (r *record) line(text string, at time.Duration, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	report, ticks := clock.Parse(text)
	switch {
	case !whole && !strings.Contains(text, loginSays): // it comes again
	case strings.Contains(text, firstSays):
		r.boots++
		r.reachedLocked(&r.root, at)
	case ticks:
		if report.Reads < r.now.Reads { // the clock was started again, and maybe the machine
			r.before = sum(r.before, r.now)
		}
		r.now, r.last = report, at
		if r.login != 0 { // while it starts, the machine's processor is what reads wait for
			r.slowest = max(r.slowest, report.Slowest)
		}
		r.reachedLocked(&r.clock, at)
	case r.root > 0 && r.login == 0 && strings.Contains(text, loginSays):
		r.reachedLocked(&r.login, at)
	}
}

// reachedLocked notes when the machine came so far for the first time.
func (r *record) reachedLocked(stage *time.Duration, at time.Duration) {
	if *stage != 0 {
		return
	}
	if *stage = at; r.clock != 0 && r.login != 0 {
		close(r.up)
	}
}

// target takes what a server knows of the machine.
func (r *record) target(t *farm.TargetInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pause, r.failovers = max(r.pause, t.Pause), max(r.failovers, t.Failovers)
}

// happens notes a trouble that takes its server from the machine.
func (r *record) happens() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.happened++
}

// behind tells whether the machine has not told of all that has happened yet.
func (r *record) behind() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.boots == 1 && r.failovers < r.happened // after another start it counts anew
}

// sum adds up what is counted.
func sum(a, b clock.Report) clock.Report {
	return clock.Report{
		Reads: a.Reads + b.Reads, Wrong: a.Wrong + b.Wrong, Failed: a.Failed + b.Failed, Written: a.Written + b.Written, Kept: a.Kept + b.Kept,
	}
}

// summary tells how it went. Trouble is what the machine's kernel has complained of, in lines.
func (r *record) summary(trouble int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := sum(r.before, r.now)
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-16s"+format+"\n", append([]any{name}, args...)...)
	}
	row("boots", "%d", r.boots)
	row("power-on to", "the root's first program %s, the clock %s, the log-in prompt %s", seconds(r.root), seconds(r.clock), seconds(r.login))
	late := ""
	switch {
	case r.boots > 1:
		late = ", the most between two starts of the machine"
	case r.failovers < r.happened:
		late = fmt.Sprintf(", after %d troubles: the machine tells its server every ten seconds", r.happened)
	}
	row("failovers", "%d%s", r.failovers, late)
	row("longest pause", "%d ms of a read from servers; the slowest read that the system saw took %d ms", r.pause.Milliseconds(), r.slowest.Milliseconds())
	row("I/O errors", "%d; the kernel complained %d times", all.Failed, trouble)
	row("read", "%d blocks of %d KiB past all caches of the system and compared, %d wrong", all.Reads, clock.BlockSize>>10, all.Wrong)
	row("written", "%d lines, of which %d were read back as they were", all.Written, all.Kept)
	return b.String()
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// silence is how long the clock may say nothing, or a read may take, where no person could have stopped it.
const silence = 10 * time.Second

// verdict is an error when something of the machine's disk was not as it must be. Until is when the show ended, 0 when a person
// may have stopped the clock.
func (r *record) verdict(until time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until > 0 && r.clock > 0 && until-r.last > silence {
		return fmt.Errorf("the machine's clock said nothing for %.0f s", (until - r.last).Seconds())
	}
	if until > 0 && r.slowest > silence {
		return fmt.Errorf("a read took %.0f s", r.slowest.Seconds())
	}
	if all := sum(r.before, r.now); all.Wrong+all.Failed > 0 {
		return fmt.Errorf("%d reads or writes failed, %d brought wrong bytes", all.Failed, all.Wrong)
	}
	return nil
}

// paused tells the failovers so far and the longest pause.
func (r *record) paused() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("failovers so far: %d; longest pause of a read: %d ms", r.failovers, r.pause.Milliseconds())
}
