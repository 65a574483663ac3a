package engine

import (
	"testing"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// The server that serves is told soon when the machine reached which stage of its boot, and one that takes over is told
// as well.
func TestBootTimesReachWhoeverServes(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.addServer("lab-a"), w.addServer("lab-b")
	c := w.addClient(1, 4, -1, a)
	c.rest = 20 * time.Millisecond
	c.start()
	if !w.run(5*time.Second, func() bool { return c.serving() == a }) {
		t.Fatal("the target is not served")
	}
	w.run(time.Second, nil)
	times := wire.BootTimes{ModulesMS: 1, NetworkMS: 2, LogInMS: 3, AttachedMS: 4, RootMS: 5, InitMS: 6, UptimeMS: 7000}
	var set Instant
	knows := func(s *simServer) func() bool {
		return func() bool {
			for _, x := range s.sessions {
				got := x.Status.Boot
				after := x.Told.Add(-s.offset).Sub(set)
				if d := 7*time.Second + after - time.Duration(got.UptimeMS)*time.Millisecond; got.UptimeMS > 0 && d.Abs() > 10*time.Millisecond {
					t.Errorf("%s was told an uptime of %d ms, %v after it was 7 s", s.name, got.UptimeMS, after)
				}
				if got.UptimeMS = times.UptimeMS; got == times {
					return true
				}
			}
			return false
		}
	}
	set = w.now
	c.do(func() { c.c.SetBoot(c.clock(), times) })
	if !w.run(2*statusSoon, knows(a)) {
		t.Error("the server that serves does not know")
	}
	a.e.cut = true
	if !w.run(time.Second, func() bool { return c.serving() == b }) {
		t.Fatal("the target has not moved")
	}
	if !w.run(statusEvery+time.Second, knows(b)) {
		t.Error("the server that took over does not know")
	}
}
