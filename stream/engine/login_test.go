package engine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// near is a farm of servers on a short network without limits.
func near(t *testing.T, seed uint64, servers int) *world {
	w := newWorld(t, seed)
	for i := range servers {
		s := w.addServer("lab-" + string(rune('a'+i)))
		s.e.up.delay, s.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
	}
	return w
}

// target is one that reads a little all the time.
func (w *world) target(servers ...*simServer) *simClient {
	c := w.addClient(2, 4, -1, servers...)
	c.e.up.delay, c.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
	c.rest = 5 * time.Millisecond
	return c
}

// count is how many events of a kind a target has seen, and the text of the last.
func (c *simClient) count(kind EventKind) (n int, text string) {
	for _, e := range c.events {
		if e.Kind == kind {
			n++
			text = e.Text
		}
	}
	return n, text
}

// expectReading fails unless the target reads now.
func (c *simClient) expectReading() {
	c.w.t.Helper()
	before := c.done
	c.w.run(300*time.Millisecond, nil)
	if c.done == before || len(c.failed) > 0 {
		c.w.fail("%s does not read: %d done, %v, %+v", c.name, c.done, c.failed, c.c.Snapshot())
	}
}

// A server that is full refers a target to another one, where the ticket of the referral is enough.
func TestReferralOpensTheOtherServersDoor(t *testing.T) {
	w := near(t, 1, 2)
	full, other := w.servers[0], w.servers[1]
	full.full = true
	c := w.target(full)
	c.start()
	c.expectReading()
	if c.serving() != other || other.front.Stats.Hellos != 0 || other.front.Stats.Flights == 0 {
		t.Errorf("served by %v; %+v", c.serving(), other.front.Stats)
	}
	if n, _ := c.count(EventServing); n != 1 {
		t.Errorf("%d times told that it is served", n)
	}
}

// Two servers that refer to one another are asked now and then, not in a ring.
func TestReferralsDoNotGoRound(t *testing.T) {
	w := near(t, 1, 2)
	a, b := w.servers[0], w.servers[1]
	a.full, b.full = true, true
	c := w.target(a)
	c.start()
	a.denies, b.denies = 0, 0
	for _, s := range w.servers {
		s.refuseTickets = true
	}
	w.run(10*time.Second, nil)
	if n := a.front.Stats.Hellos + b.front.Stats.Hellos; n > 120 {
		t.Errorf("%d handshakes in 10 s", n)
	}
	for _, s := range w.servers {
		s.refuseTickets, s.full = false, false
	}
	w.run(3*time.Second, nil)
	c.expectReading()
}

// A target that is denied says so in the server's words, asks again, and is served when it may be.
func TestDeniedTargetIsServedWhenItMayBe(t *testing.T) {
	w := near(t, 1, 1)
	s := w.servers[0]
	s.denies = wire.CodeUnknownDevice
	c := w.target()
	c.start()
	w.run(4*time.Second, nil)
	if n, text := c.count(EventDenied); n == 0 || text != wire.CodeUnknownDevice.Sentence() {
		t.Errorf("%d refusals told, %q", n, text)
	}
	if n := s.front.Stats.Hellos; n > 20 {
		t.Errorf("%d handshakes in 4 s", n)
	}
	s.denies = 0
	w.run(6*time.Second, nil)
	c.expectReading()
}

// With a wrong farm key, a wrong pre-shared key, or a server that is down, a target says within three seconds whom it has asked and what
// may be wrong, again every 30 s, and goes on asking.
func TestUnansweredTargetSaysWhatMayBeWrong(t *testing.T) {
	for name, spoil := range map[string]func(w *world, c *simClient){
		"farm key": func(_ *world, c *simClient) { c.c.cfg.Farm = secure.NewFarm([32]byte{99}).Public() },
		"psk":      func(w *world, _ *simClient) { w.servers[0].psk = [32]byte{1} },
		"down":     func(w *world, _ *simClient) { w.servers[0].e.cut = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := near(t, 1, 1)
			c := w.target()
			spoil(w, c)
			c.start()
			w.run(3*time.Second, nil)
			n, text := c.count(EventWaiting)
			hint := "farm key"
			if name == "psk" {
				hint = "--psk-file"
			}
			if n != 1 || strings.Count(text, "192.0.2.10:6910") != 1 || !strings.Contains(text, hint) {
				t.Errorf("%d times told: %s", n, text)
			}
			w.run(60*time.Second, nil)
			if n, _ := c.count(EventWaiting); n != 3 {
				t.Errorf("told %d times in a minute", n)
			}
			if n := w.servers[0].front.Stats.Hellos; n > 2*63 {
				t.Errorf("%d handshakes in 63 s", n)
			}
		})
	}
}

// Reads wait for ever without a server, or fail after the time that was asked for.
func TestReadsFailOnlyWhenThatWasAskedFor(t *testing.T) {
	w := near(t, 1, 1)
	patient, hasty := w.target(), w.target()
	hasty.c.cfg.FailAfter = 5 * time.Second
	patient.start()
	hasty.start()
	w.run(time.Second, nil)
	w.servers[0].crash()
	w.run(4*time.Second, nil)
	if len(hasty.failed) > 0 {
		t.Error("a read failed before its time")
	}
	w.run(3*time.Second, nil)
	if len(hasty.failed) == 0 || !errors.Is(hasty.failed[0], ErrNoServer) {
		t.Errorf("reads failed with %v", hasty.failed)
	}
	hasty.left = 0
	w.run(10*time.Minute, nil)
	if len(patient.failed) > 0 {
		t.Errorf("reads failed with %v", patient.failed)
	}
	w.servers[0].restart()
	w.run(5*time.Second, nil)
	patient.expectReading()
}

// An old ticket is worth nothing: the server says so under the ticket's own seal, and the target logs in anew.
func TestTicketOfAnOldEpochLeadsToAFullLogin(t *testing.T) {
	w := near(t, 1, 2)
	a, b := w.servers[0], w.servers[1]
	c := w.target(a)
	c.start()
	c.expectReading()
	b.front.LearnEpoch(b.clock(), 5)
	a.crash()
	w.run(time.Second, nil)
	c.expectReading()
	if c.serving() != b || b.front.Stats.Hellos != 1 {
		t.Errorf("served by %v after %d handshakes", c.serving(), b.front.Stats.Hellos)
	}
}

// The epoch turns on every server, and targets that stay get tickets that are good.
func TestTicketsAreGoodForHours(t *testing.T) {
	w := near(t, 1, 2)
	a, b := w.servers[0], w.servers[1]
	c := w.target(a)
	c.rest = 2 * time.Second
	c.start()
	w.run(3*time.Hour, nil)
	a.crash()
	w.run(time.Second, nil)
	c.rest = 5 * time.Millisecond
	w.run(3*time.Second, nil)
	c.expectReading()
	if c.serving() != b || b.front.Stats.Hellos != 0 {
		t.Errorf("served by %v after %d handshakes", c.serving(), b.front.Stats.Hellos)
	}
}

// Sessions are renewed before their keys have served their time, and reads do not stand still for it.
func TestRenewalCausesNoPause(t *testing.T) {
	w := near(t, 1, 2)
	a := w.servers[0]
	c := w.target(a)
	c.rest = 20 * time.Millisecond
	c.start()
	w.run(time.Second, nil)
	a.crash() // what follows is a resumed session, which lives a minute or so
	w.run(time.Second, nil)
	first := c.c.current
	c.mark()
	w.run(2*time.Minute, nil)
	second := c.c.current
	if second == first || second.server != first.server {
		t.Fatal("the resumed session was not renewed")
	}
	if c.longest > 10*time.Millisecond {
		t.Errorf("reads stood still for %v", c.longest)
	}
	c.rest = 2 * time.Second
	w.run(70*time.Minute, nil)
	if c.c.current == second {
		t.Error("the session was not renewed in an hour")
	}
	if n := c.c.stats.Failovers; n != 1 {
		t.Errorf("renewals count as %d moves", n-1)
	}
}

// A target whose address changes keeps its session.
func TestSessionFollowsTheTargetsAddress(t *testing.T) {
	w := near(t, 1, 1)
	c := w.target()
	c.start()
	c.expectReading()
	before := c.c.current
	c.readdress(netip.MustParseAddrPort("198.51.100.77:7000"))
	c.mark()
	c.expectReading()
	if c.c.current != before || c.longest > 60*time.Millisecond {
		t.Errorf("another session, or a pause: %v", c.longest)
	}
	if got := w.servers[0].list[0].Addr(); got != c.e.addr {
		t.Errorf("the session is at %v", got)
	}
}

// When big datagrams vanish on the way, a target is served with small ones, and later with big ones again.
func TestBigDatagramsThatVanishAreDoneWithout(t *testing.T) {
	w := near(t, 1, 1)
	c := w.addClient(4, 8, -1)
	c.e.up.delay, c.e.down.delay = 100*time.Microsecond, 100*time.Microsecond
	c.rest = 5 * time.Millisecond
	c.start()
	w.run(time.Second, nil)
	if p := w.servers[0].list[0].Packet(); p < 8000 {
		t.Fatalf("packets of %d bytes are used where larger ones pass", p)
	}
	c.e.most = 1400
	c.mark()
	w.run(3*time.Second, nil)
	c.expectReading()
	if c.longest > time.Second {
		t.Errorf("reads stood still for %v", c.longest)
	}
	c.e.most = 0
	c.rest = 5 * time.Second
	w.run(probeRetry+time.Second, nil)
	if p := w.servers[0].list[0].Packet(); p < 8000 {
		t.Errorf("packets of %d bytes are used where larger ones pass again", p)
	}
}

// The clock of a server that is off by a year changes nothing: no decision compares clocks of two machines. (In all other
// tests too every machine has a clock of its own.)
func TestAClockThatIsOffByAYearChangesNothing(t *testing.T) {
	w := near(t, 1, 2)
	a, b := w.servers[0], w.servers[1]
	b.offset += 365 * 24 * time.Hour
	b.start(1) // with the clock as it is now
	c := w.target(a)
	c.start()
	c.expectReading()
	a.stop(time.Second)
	w.run(time.Second, nil)
	c.expectReading()
	a.front.Start()
	b.stop(time.Second)
	w.run(3*time.Second, nil)
	c.expectReading()
	if c.serving() != a || a.front.Stats.Hellos != 1 || b.front.Stats.Hellos != 0 {
		t.Errorf("served by %v, %d and %d handshakes", c.serving(), a.front.Stats.Hellos, b.front.Stats.Hellos)
	}
}

// A server that was set up anew at its old address, with another identity, serves its targets again.
func TestServerThatWasSetUpAnewServesAgain(t *testing.T) {
	w := near(t, 1, 1)
	s := w.servers[0]
	c := w.target()
	c.start()
	c.expectReading()
	s.crash()
	copy(s.id[:], "another identity")
	s.start(1)
	w.run(3*time.Second, nil)
	c.expectReading()
}

// What a target sends to one server can be carried to another one, which would answer it too. That answer is dropped.
func TestAnswerOfAServerThatWasNotAskedIsDropped(t *testing.T) {
	w := near(t, 1, 3)
	a, b, other := w.servers[0], w.servers[1], w.servers[2]
	c := w.target(a)
	c.start()
	c.expectReading()
	carried := 0
	w.record = func(from, to netip.AddrPort, d []byte) {
		if kind, _ := wire.Peek(d); kind == wire.KindResume && to != other.e.addr {
			carried++
			w.deliver(from, other, d, w.now, 0, 0)
		}
	}
	b.e.up.delay = 30 * time.Millisecond // the other one is faster
	other.hidden = true
	a.crash()
	w.run(time.Second, nil)
	c.expectReading()
	if carried == 0 || c.serving() != b {
		t.Errorf("%d flights were carried to another server; served by %v", carried, c.serving().name)
	}
}

// With a limit to waiting, reads fail too when what every server lacks is its store.
func TestReadsFailInTimeWithoutAnyStore(t *testing.T) {
	w := near(t, 1, 1)
	c := w.target()
	c.c.cfg.FailAfter = 5 * time.Second
	c.start()
	c.expectReading()
	w.servers[0].gone = true
	w.run(4*time.Second, nil)
	if len(c.failed) > 0 {
		t.Error("a read failed before its time")
	}
	w.run(3*time.Second, nil)
	if len(c.failed) == 0 {
		t.Error("no read has failed")
	}
}

// A target that reads nothing is moved like any other, and stays served.
func TestIdleTargetIsMoved(t *testing.T) {
	w := near(t, 1, 2)
	a, b := w.servers[0], w.servers[1]
	c := w.addClient(0, 1, 0, a)
	c.start()
	w.run(time.Second, nil)
	a.stop(5 * time.Second)
	w.run(30*time.Second, nil)
	if a.moved != 1 || len(b.list) != 1 || !b.list[0].Confirmed() || c.c.stats.Failovers != 1 {
		t.Errorf("%d moved, %d sessions at the other server, %d moves", a.moved, len(b.list), c.c.stats.Failovers)
	}
}

// A server that could not be reached while its target left hears the good-bye when it can be.
func TestGoodByeReachesAServerThatWasCutOff(t *testing.T) {
	w := near(t, 1, 2)
	a, b := w.servers[0], w.servers[1]
	c := w.target(a)
	c.start()
	c.expectReading()
	a.e.cut = true
	w.run(600*time.Millisecond, nil)
	a.e.cut = false
	w.run(2*time.Second, nil)
	if c.serving() != b || len(a.list) != 0 {
		t.Errorf("served by %s, %d sessions at %s", c.serving().name, len(a.list), a.name)
	}
}

// What a ticket flight asks for is not asked for again when the new session has come about.
func TestReadsOfAFlightAreNotAskedForAgain(t *testing.T) {
	w := near(t, 1, 2)
	a, b := w.servers[0], w.servers[1]
	c := w.target(a)
	c.e.down.delay = 40 * time.Millisecond
	c.start()
	c.expectReading()
	w.run(5*time.Millisecond, func() bool { return c.open == 2 })
	late := c.c.stats.Late
	a.crash()
	w.run(2*time.Second, nil)
	c.expectReading()
	if c.serving() != b || c.c.stats.Late != late {
		t.Errorf("served by %s, %d pieces came twice", c.serving().name, c.c.stats.Late-late)
	}
}

// When more targets boot at once than a server's budget allows, they are told to wait, come one after another, and all are served;
// one that reconnects meanwhile does not stand in that line.
func TestBootsWaitInLineAndReconnectsDoNot(t *testing.T) {
	w := near(t, 1, 2)
	a := w.servers[0]
	old := w.target(w.servers[1])
	old.start()
	w.run(time.Second, nil)
	a.boots = 100
	a.start(1)
	for range 400 {
		c := w.target(a)
		c.rest = time.Second
		c.start()
	}
	w.run(100*time.Millisecond, nil)
	old.c.ticket.expires = 0 // so that it needs a handshake
	old.mark()
	w.servers[1].crash()
	w.run(900*time.Millisecond, nil)
	if old.serving() != a {
		t.Errorf("the reconnect waits among the boots")
	}
	all := func() bool {
		for _, c := range w.clients {
			if c.serving() == nil || c.done == 0 {
				return false
			}
		}
		return true
	}
	if !w.run(6*time.Second, all) {
		t.Error("not all are served")
	}
	if n := a.front.Stats.Hellos; n > 400*5 {
		t.Errorf("%d handshakes for 400 targets", n)
	}
	t.Logf("all are served after %v, %d handshakes", w.now.Sub(worldBegins)-time.Second, a.front.Stats.Hellos)
}
