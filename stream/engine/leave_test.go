package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// cutFarm is a farm of two servers whose targets have all moved away from one,
// because its link was cut, so that it has not heard any good-bye.
func cutFarm(t *testing.T, seed uint64) (w *world, lost *simServer) {
	w = newWorld(t, seed)
	for _, name := range []string{"lab-a", "lab-b"} {
		s := w.addServer(name)
		s.e.up.delay, s.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
	}
	lost = w.servers[0]
	for range 6 {
		c := w.addClient(2, 4, -1, lost)
		c.rest = 20 * time.Millisecond
		c.e.up.delay, c.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
		c.start()
	}
	w.run(time.Second, nil)
	if len(lost.sessions) != 6 {
		t.Fatalf("%d of 6 targets are served in the beginning", len(lost.sessions))
	}
	lost.e.cut = true
	w.run(time.Second, nil)
	for _, c := range w.clients {
		if c.serving() == lost {
			t.Fatalf("%s has not moved", c.name)
		}
	}
	if len(lost.sessions) != 6 {
		t.Fatal("the server knows of good-byes that it cannot have heard")
	}
	return w, lost
}

// A server that is stopped does not wait for targets that do not answer: they
// have moved without its having heard.
func TestStopDoesNotWaitForTargetsThatCannotAnswer(t *testing.T) {
	w, lost := cutFarm(t, 1)
	w.run(10*time.Second, nil)
	since := w.now
	lost.stop(30 * time.Second)
	if !w.run(30*time.Second, func() bool { return len(lost.sessions) == 0 }) {
		t.Fatalf("%d targets are still waited for", len(lost.sessions))
	}
	if d := w.now.Sub(since); d < awayAsks*awayAgain || d > awayAsks*awayAgain+awayReminder {
		t.Errorf("they were waited for %v", d)
	}
	if lost.moved != 0 {
		t.Errorf("%d of them count as moved", lost.moved)
	}
}

// The same when a target vanishes after it has promised to move.
func TestStopDoesNotWaitForTargetsThatVanishLater(t *testing.T) {
	w := newWorld(t, 2)
	s := w.addServer("lab-a") // alone: its targets have nowhere to go
	var list []*simClient
	for range 4 {
		c := w.addClient(1, 1, -1)
		c.rest = 50 * time.Millisecond
		c.e.up.delay, c.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
		c.start()
		list = append(list, c)
	}
	w.run(time.Second, nil)
	s.stop(30 * time.Second)
	w.run(8*time.Second, nil)
	if len(s.sessions) != 4 {
		t.Fatalf("%d of 4 targets are left although they answer and are served", len(s.sessions))
	}
	for _, c := range list[:3] {
		c.e.cut = true
	}
	if !w.run(4*time.Second, func() bool { return len(s.sessions) == 1 }) {
		t.Errorf("%d targets are waited for, 1 is there", len(s.sessions))
	}
	if w.run(10*time.Second, func() bool { return len(s.sessions) == 0 }) {
		t.Error("the one that is there is not served to the end")
	}
}

// A good-bye that the network has swallowed comes through when the network is
// well again, and is not repeated for ever.
func TestGoodByeComesThroughWhenTheLinkIsBack(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 10 * time.Second, 25 * time.Second} {
		w, lost := cutFarm(t, 3)
		w.run(after, nil)
		lost.e.cut = false
		if !w.run(leaveMost+500*time.Millisecond, func() bool { return len(lost.sessions) == 0 }) {
			t.Errorf("after %v: %d sessions are left whose targets have moved", after, len(lost.sessions))
		}
		if lost.moved != 6 {
			t.Errorf("after %v: %d of 6 count as moved", after, lost.moved)
		}
		w.run(2*leaveMost+time.Second, nil) // the answer to a repetition says that it was heard
		for _, c := range w.clients {
			for _, p := range c.c.paths {
				if p.state == pathLeft && p.again != Never {
					t.Errorf("after %v: %s still says good-bye to %s", after, c.name, p.server.label())
				}
			}
		}
	}
}

// A server that never comes back is told good-bye for as long as it could have
// kept the session, and then forgotten.
func TestGoodByeToADeadServerEnds(t *testing.T) {
	w, lost := cutFarm(t, 4)
	lost.crash()
	w.run(lingerLeft+time.Second, nil)
	for _, c := range w.clients {
		if n := len(c.c.paths); n != 1 {
			t.Errorf("%s keeps %d paths", c.name, n)
		}
	}
}

// A target that ends waits for one round trip until its server knows it, for
// three tries when messages are lost, and goes without having been heard when
// nobody answers.
func TestATargetThatEndsIsHeard(t *testing.T) {
	for _, c := range []struct {
		name    string
		trouble func(*world, *simServer, *simClient)
		tries   int
		within  time.Duration
		heard   bool
	}{
		{"all is well", nil, 1, time.Millisecond, true},
		{"the good-bye is lost", func(w *world, s *simServer, c *simClient) {
			w.walls[way{&c.e, &s.e}]++
			w.after(150*time.Millisecond, func() { w.tearDown(&s.e) })
		}, 3, 201 * time.Millisecond, true},
		{"the answer is lost", func(w *world, s *simServer, c *simClient) {
			w.walls[way{&s.e, &c.e}]++
			w.after(50*time.Millisecond, func() { w.tearDown(&s.e) })
		}, 2, 101 * time.Millisecond, true},
		{"the server is dead", func(_ *world, s *simServer, _ *simClient) { s.crash() }, 3, leaveWait, false},
	} {
		w := newWorld(t, 1)
		s := w.addServer("lab-a")
		x := w.addClient(2, 4, -1)
		x.rest = 20 * time.Millisecond
		x.e.up.delay, x.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
		x.start()
		w.run(time.Second, nil)
		if c.trouble != nil {
			c.trouble(w, s, x)
		}
		leaves := 0
		w.record = func(from, _ netip.AddrPort, _ []byte) {
			if from == x.e.addr {
				leaves++
			}
		}
		since := w.now
		x.c.Leave(x.clock())
		x.left = 0
		x.pump()
		if !w.run(time.Second, x.c.Gone) {
			t.Errorf("%s: it does not end", c.name)
		}
		if d := w.now.Sub(since); d > c.within || leaves != c.tries {
			t.Errorf("%s: it ends after %v, not %v, with %d tries, not %d", c.name, d, c.within, leaves, c.tries)
		}
		if c.heard == (len(s.sessions) > 0) {
			t.Errorf("%s: the server has %d sessions", c.name, len(s.sessions))
		}
		if d := x.c.Deadline(); d != Never {
			t.Errorf("%s: it wants to be stepped further", c.name)
		}
	}
}

// A request for the sake of balance that nobody answers, or that comes too late
// for the target, ends no session.
func TestAnOptionalMoveEndsNoSession(t *testing.T) {
	p := newPair(t, 1472)
	now := p.w.now
	s := p.s
	s.GoAway(now, wire.GoingAway{Number: 1, Reason: wire.AwayRebalance}, now.Add(time.Minute))
	for range 2 * awayAsks {
		s.Tick(now)
		now = now.Add(awayAgain)
	}
	if s.Ended() || s.away.active {
		t.Errorf("ended %v, still asked %v", s.Ended(), s.away.active)
	}
	s.GoAway(now, wire.GoingAway{Number: 2, Reason: wire.AwayStopped}, now.Add(time.Minute))
	for range awayAsks + 1 {
		s.Tick(now)
		now = now.Add(awayAgain)
	}
	if !s.Ended() {
		t.Error("a target that does not answer is waited for")
	}
}

// Targets that were asked to move and could not yet stay when the server takes the request back, although messages are
// lost, and move when they are asked once more.
func TestTargetsStayWhenTheStopIsTakenBack(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(t, seed+1)
		s, o := w.addServer("lab-a"), w.addServer("lab-b")
		o.crash()
		for range 6 {
			c := w.addClient(2, 4, -1, s)
			c.rest = 20 * time.Millisecond
			c.e.up.delay, c.e.down.delay, c.e.loss = 50*time.Microsecond, 50*time.Microsecond, 0.1
			c.start()
		}
		w.run(3*time.Second, nil)
		s.stop(30 * time.Second)
		w.run(2*time.Second, nil)
		if n := len(s.sessions); n != 6 || !w.clients[0].c.move.active {
			t.Fatalf("seed %d: %d of 6 targets are here, the first wants to move: %v", seed+1, n, w.clients[0].c.move.active)
		}
		s.stay()
		w.run(time.Second, nil)
		o.restart()
		w.run(10*time.Second, nil)
		for _, c := range w.clients {
			if c.serving() != s || len(c.moves) > 0 || c.c.move.active {
				t.Errorf("seed %d: %s does not stay: %+v", seed+1, c.name, c.moves)
			}
		}
		for _, x := range s.list {
			if x.away.active {
				t.Errorf("seed %d: a target is still asked", seed+1)
			}
		}
		s.stop(30 * time.Second)
		if !w.run(5*time.Second, func() bool { return len(s.sessions) == 0 }) {
			t.Errorf("seed %d: %d targets do not move when they are asked again", seed+1, len(s.sessions))
		}
	}
}

// A request that arrives after its own withdrawal moves nobody.
func TestARequestOvertakenByItsWithdrawalIsVoid(t *testing.T) {
	p := newPair(t, 1472)
	c, path := p.c, p.c.current
	ask := wire.GoingAway{Number: 7, Reason: wire.AwayStopped, DeadlineMS: 1000}
	c.goingAway(p.w.now, path, wire.GoingAway{Number: 8, Reason: wire.AwayWithdrawn})
	if c.goingAway(p.w.now, path, ask); c.move.active {
		t.Error("the target moves")
	}
	ask.Number = 9
	if c.goingAway(p.w.now, path, ask); !c.move.active {
		t.Error("a new request does not count")
	}
}

// A move says why: the store is gone, the server is stopped, another one has less to do. For the last reason a target
// goes to the proposed server or, when that does not take it, stays.
func TestAMoveSaysWhy(t *testing.T) {
	for _, c := range []struct {
		do   func(w *world, s *simServer)
		want string
	}{
		{func(w *world, s *simServer) { s.stop(5 * time.Second) }, "going away"},
		{func(w *world, s *simServer) { s.gone = true }, "store gone"},
		{func(w *world, s *simServer) { s.balance("lab-c", 3*time.Second) }, "rebalance"},
		{func(w *world, s *simServer) { s.balance("lab-d", 3*time.Second) }, ""},
		{func(w *world, s *simServer) {
			w.servers[2].denies = wire.CodeStarting
			s.balance("lab-c", 3*time.Second)
		}, ""},
	} {
		w := newWorld(t, 1)
		for _, name := range []string{"lab-a", "lab-b", "lab-c"} {
			w.addServer(name)
		}
		s := w.servers[0]
		x := w.addClient(2, 4, -1, s)
		x.rest = 5 * time.Millisecond
		x.e.up.delay, x.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
		x.start()
		w.run(time.Second, nil)
		c.do(w, s)
		w.run(6*time.Second, nil)
		switch {
		case c.want == "":
			if len(x.moves) > 0 || x.serving() != s || x.c.move.active || s.list[0].away.active {
				t.Errorf("it does not stay: %+v", x.moves)
			}
		case len(x.moves) != 1 || x.moves[0].Reason.String() != c.want || x.moves[0].Pause > 10*time.Millisecond:
			t.Errorf("moves %+v, wanted one for %q", x.moves, c.want)
		case c.want == "rebalance" && x.serving().name != "lab-c":
			t.Errorf("it went to %s", x.serving().name)
		}
	}
}
