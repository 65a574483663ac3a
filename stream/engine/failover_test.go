//go:build !race

package engine

import (
	"fmt"
	"testing"
	"time"
)

// lan is a farm of two servers on a gigabit network with 0.2 ms of round trip,
// and targets that read all the time.
func lan(t *testing.T, seed uint64, targets int) *world {
	w := newWorld(t, seed)
	for _, name := range []string{"lab-a", "lab-b"} {
		s := w.addServer(name)
		s.e.up = link{rate: 125e6, delay: 50 * time.Microsecond, limit: 4 << 20}
		s.e.down = link{rate: 125e6, delay: 50 * time.Microsecond, limit: 4 << 20}
	}
	for range targets {
		c := w.addClient(1+w.rng.IntN(8), 1+w.rng.IntN(16), -1)
		c.e.up = link{rate: 125e6, delay: 50 * time.Microsecond, limit: 4 << 20}
		c.e.down = link{rate: 125e6, delay: 50 * time.Microsecond, limit: 4 << 20}
		c.random = w.rng.IntN(2) == 0
		c.rest = time.Duration(c.run) * 500 * time.Microsecond
		c.start()
	}
	w.run(200*time.Millisecond+w.draw(50*time.Millisecond), nil)
	for _, c := range w.clients {
		if c.done == 0 {
			t.Fatalf("seed %d: %s does not read", seed, c.name)
		}
		c.mark()
	}
	return w
}

// The longest time for which reads stand still, when the server that serves
// them goes, under load, on a local network.
func TestLongestReadPause(t *testing.T) {
	for _, trouble := range []struct {
		name  string
		bound time.Duration
		happens,
		ends func(w *world, s *simServer)
	}{
		{"planned stop", 10 * time.Millisecond, func(_ *world, s *simServer) { s.stop(2 * time.Second) }, nil},
		{"killed", 100 * time.Millisecond, func(_ *world, s *simServer) { s.crash() }, nil},
		{"killed and restarted at once", 100 * time.Millisecond, func(_ *world, s *simServer) { s.crash(); s.restart() }, nil},
		{"link down", 300 * time.Millisecond, func(_ *world, s *simServer) { s.e.cut = true }, nil},
		{
			"its targets hear it and do not reach it", 300 * time.Millisecond,
			func(w *world, s *simServer) { w.partFromTargets(s, true, false) }, func(w *world, s *simServer) { w.tearDown(&s.e) },
		},
		{
			"it hears its targets and does not reach them", 300 * time.Millisecond,
			func(w *world, s *simServer) { w.partFromTargets(s, false, true) }, func(w *world, s *simServer) { w.tearDown(&s.e) },
		},
		{
			"its targets are on the other side", 300 * time.Millisecond,
			func(w *world, s *simServer) { w.partFromTargets(s, true, true) }, func(w *world, s *simServer) { w.tearDown(&s.e) },
		},
		{
			"frozen and thawed", 300 * time.Millisecond,
			func(_ *world, s *simServer) { s.freeze() }, func(_ *world, s *simServer) { s.thaw() },
		},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			var longest time.Duration
			for seed := range uint64(5) {
				w := lan(t, seed+1, 4)
				s := w.clients[0].serving()
				trouble.happens(w, s)
				w.run(500*time.Millisecond, nil)
				if trouble.ends != nil {
					trouble.ends(w, s)
				}
				w.run(500*time.Millisecond, nil)
				for _, c := range w.clients {
					c.longest = max(c.longest, c.pause())
					longest = max(longest, c.longest)
					if c.longest > trouble.bound {
						t.Errorf("seed %d: %s stood still for %v, more than %v", seed+1, c.name, c.longest, trouble.bound)
					}
					if len(c.failed) > 0 {
						t.Errorf("seed %d: %s: %v", seed+1, c.name, c.failed)
					}
				}
			}
			t.Logf("longest pause %v, allowed %v", longest, trouble.bound)
		})
	}
}

// A server that stops as planned knows how many targets have moved and what it
// cost the worst of them.
func TestPlannedStopReportsWhatMoved(t *testing.T) {
	w := lan(t, 1, 20)
	s := w.clients[0].serving()
	was := len(s.sessions)
	s.stop(5 * time.Second)
	w.run(3*time.Second, nil)
	if s.moved != was || len(s.sessions) != 0 {
		t.Errorf("%d of %d have moved, %d are left", s.moved, was, len(s.sessions))
	}
	var longest time.Duration
	for _, c := range w.clients {
		longest = max(longest, c.longest)
	}
	if s.pause == 0 || s.pause > longest {
		t.Errorf("the server reports a longest pause of %v, the targets measured %v", s.pause, longest)
	}
	t.Logf("%d moved, longest pause %v", s.moved, s.pause)
}

// Targets move although going-away, its acknowledgement and the good-bye are lost several times.
func TestPlannedStopWithHeavyLoss(t *testing.T) {
	for seed := range uint64(5) {
		w := lan(t, seed+1, 8)
		for _, c := range w.clients {
			c.rest = 20 * time.Millisecond
		}
		s := w.clients[0].serving()
		was := len(s.sessions)
		s.e.loss = 0.3
		s.stop(20 * time.Second)
		if !w.run(8*time.Second, func() bool { return len(s.sessions) == 0 }) {
			t.Errorf("seed %d: %d of %d targets are left", seed+1, len(s.sessions), was)
		}
	}
}

// A stall of 60 ms is no reason to leave a server: of its processes, of its
// network, or a longer one of the target's own.
func TestShortStallsCauseNoFailover(t *testing.T) {
	for seed := range uint64(4) {
		w := lan(t, seed+1, 4)
		for _, c := range w.clients {
			c.rest = 10 * time.Millisecond
		}
		for i := range 24 {
			s, c := w.servers[i%2], w.clients[w.rng.IntN(4)]
			switch i % 3 {
			case 0:
				w.trace("%s freezes", s.name)
				s.freeze()
				w.after(60*time.Millisecond, s.thaw)
			case 1:
				w.trace("%s is cut off", s.name)
				s.e.cut = true
				w.after(60*time.Millisecond, func() { s.e.cut = false })
			default:
				w.trace("%s freezes", c.name)
				c.frozen = true
				w.after(w.draw(time.Second), c.thaw)
			}
			w.run(150*time.Millisecond, nil)
		}
		w.run(time.Second, nil)
		for _, c := range w.clients {
			if n := c.c.stats.Failovers; n > 0 {
				w.fail("%s has changed its server %d times", c.name, n)
			}
			if c.pause() > 100*time.Millisecond {
				w.fail("%s stands still", c.name)
			}
		}
	}
}

// A thousand targets that lose their server at once are all served by the others within a second, with their tickets and
// also when nobody takes these; none is refused.
func TestThousandTargetsLoseTheirServer(t *testing.T) {
	t.Run("tickets are taken", func(t *testing.T) { loseServerOfThousand(t, false) })
	t.Run("each logs in anew", func(t *testing.T) { loseServerOfThousand(t, true) })
}

func loseServerOfThousand(t *testing.T, refuseTickets bool) {
	const targets = 1000
	w := newWorld(t, 1)
	for i := range 3 {
		s := w.addServer(fmt.Sprintf("lab-%d", i))
		s.e.up = link{rate: 1.25e9, delay: 50 * time.Microsecond, limit: 16 << 20}
		s.e.down = link{rate: 1.25e9, delay: 50 * time.Microsecond, limit: 16 << 20}
	}
	lost := w.servers[0]
	for range targets {
		c := w.addClient(1, 1, -1, lost)
		c.random = true
		c.rest = 20 * time.Millisecond
		c.e.up, c.e.down = link{rate: 125e6, delay: 50 * time.Microsecond}, link{rate: 125e6, delay: 50 * time.Microsecond}
		c.preheat(lost)
		w.after(w.draw(200*time.Millisecond), c.start)
	}
	w.run(500*time.Millisecond, nil)
	for _, c := range w.clients {
		if c.serving() != lost || c.done == 0 {
			t.Fatalf("%s is not served in the beginning", c.name)
		}
	}
	lost.crash()
	for _, s := range w.servers[1:] {
		s.refuseTickets = refuseTickets
	}
	since := w.now
	again := func() bool {
		for _, c := range w.clients {
			if s := c.serving(); s == nil || s == lost {
				return false
			}
		}
		return true
	}
	if !w.run(time.Second, again) {
		t.Fatal("not all are served again within a second")
	}
	t.Logf("served again after %v, %d and %d", w.now.Sub(since), len(w.servers[1].sessions), len(w.servers[2].sessions))
	for _, c := range w.clients {
		for _, e := range c.events {
			if e.Kind == EventDenied {
				t.Fatalf("%s is refused by %s: %s", c.name, e.From, e.Text)
			}
		}
	}
	for _, s := range w.servers[1:] {
		if n := len(s.sessions); n < targets*4/10 {
			t.Errorf("%s got %d of %d targets: they do not spread", s.name, n, targets)
		}
	}
}

// A restarted server costs its targets one ticket flight, not a log-in.
func TestRestartCostsOneTicketFlight(t *testing.T) {
	w := newWorld(t, 3)
	s := w.addServer("lab-a")
	var list []*simClient
	for range 20 {
		c := w.addClient(2, 4, -1)
		c.rest = 20 * time.Millisecond
		c.e.up.delay, c.e.down.delay = 100*time.Microsecond, 100*time.Microsecond
		c.start()
		list = append(list, c)
	}
	w.run(time.Second, nil)
	s.crash()
	s.restart()
	w.run(time.Second, nil)
	if h, f := s.front.Stats.Hellos, s.front.Stats.Flights; h != 0 || f != 20 {
		t.Errorf("%d handshakes and %d flights for 20 targets", h, f)
	}
	for _, c := range list {
		if c.longest > 100*time.Millisecond || len(c.moves) != 1 || c.moves[0].Reason != ReasonRestarted {
			t.Errorf("%s: pause %v, moves %+v", c.name, c.longest, c.moves)
		}
	}
}

// A target that stood still or was cut off for so long that its server forgot the session goes on with the same server. It
// says that its session has expired, whether the server's last word came or not, and not that the server was restarted.
func TestAForgottenSessionIsNoRestart(t *testing.T) {
	for _, x := range []struct {
		name string
		cut  bool
	}{{"it stood still and got the last word", false}, {"it stood still and got nothing", true}} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, 4)
			s := w.addServer("lab-a")
			c := w.addClient(2, 4, -1)
			c.rest = 20 * time.Millisecond
			c.start()
			w.run(time.Second, nil)
			c.frozen, c.e.cut = true, x.cut
			w.run(sessionIdle+5*time.Second, nil)
			if n := len(s.sessions); n > 0 {
				t.Fatalf("the server has %d sessions still", n)
			}
			c.e.cut = false
			done := c.done
			c.thaw()
			w.run(time.Second, nil)
			if len(c.moves) != 1 || c.moves[0].Reason != ReasonExpired || c.moves[0].From != c.moves[0].To || c.done == done {
				t.Errorf("moves %+v, %d reads since", c.moves, c.done-done)
			}
		})
	}
}

// A session of which the server has not heard at all is forgotten soon; one of which it has, after a while.
func TestFromWhenOnASessionMayHaveExpired(t *testing.T) {
	p := &path{born: 1, heard: 1}
	if got := p.expires().Sub(p.born); got != halfOpenLife {
		t.Errorf("just opened: after %v", got)
	}
	p.heard = p.heard.Add(time.Second)
	if got := p.expires().Sub(p.heard); got != sessionIdle {
		t.Errorf("in use: after %v", got)
	}
}
