package engine

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A damaged replica costs a target nothing: the right bytes come from the other server, the one with the damage is told and fences the
// object, and the session stays where it is.
func TestDamagedObjectComesFromTheOtherServer(t *testing.T) {
	for _, o := range []object{{0, 5}, {1, 0}} {
		w := near(t, 1, 2)
		a := w.servers[0]
		for len(w.image.levels[0][5]) == 0 {
			w.image = newSimImage(w.rng, 512)
		}
		a.damaged[o] = true
		c := w.target(a)
		c.run = 8
		c.random = o.level > 0
		c.start()
		told := func() bool { return len(a.bad) > 0 }
		if !w.run(2*time.Second, told) {
			t.Fatalf("object %v: the server is not told", o)
		}
		w.run(time.Second, nil)
		if !a.fenced[o] {
			t.Errorf("object %v is not fenced: told of %v", o, a.bad)
		}
		c.expectReading()
		if c.serving() != a || c.c.stats.Failovers > 0 {
			t.Errorf("object %v: the session has moved", o)
		}
		named := false
		for _, e := range c.events {
			named = named || e.Kind == EventDamaged && e.From == a.name && e.Level == o.level && e.Index == o.index
		}
		if !named {
			t.Errorf("object %v: no event names the server and the object: %+v", o, c.events)
		}
	}
}

// Without a good copy anywhere that read fails, and only that one, with the names of the servers that were asked.
func TestReadFailsWithoutAGoodCopy(t *testing.T) {
	w := near(t, 1, 3)
	for len(w.image.levels[0][5]) == 0 {
		w.image = newSimImage(w.rng, 512)
	}
	for _, s := range w.servers {
		s.damaged[object{0, 5}] = true
	}
	c := w.target()
	c.run = 1
	c.start()
	if !w.run(5*time.Second, func() bool { return len(c.failed) > 0 }) {
		t.Fatal("the read does not fail")
	}
	if !errors.Is(c.failed[0], ErrNoGoodCopy) {
		t.Errorf("it fails with %v", c.failed[0])
	}
	n, text := c.count(EventNoGoodCopy)
	for _, s := range w.servers {
		if n != 1 || !strings.Contains(text, s.name) {
			t.Errorf("told %d times: %q", n, text)
		}
	}
	c.failed = nil
	c.expectReading()
}

// A read of which two servers each supplied a part, one of them wrong, is not the end of the good one.
func TestMixedBytesAreNotBlamedOnEveryone(t *testing.T) {
	for seed := range uint64(3) {
		w := near(t, seed+1, 2)
		a, b := w.servers[0], w.servers[1]
		for i := range int64(512) {
			a.damaged[object{0, i}] = true
		}
		a.disk = func() time.Duration { return 100 * time.Microsecond }
		c := w.target(a)
		c.run, c.depth, c.rest = 60, 4, 20*time.Millisecond
		c.e.down.rate = 5e6
		c.start()
		w.run(20*time.Millisecond+w.draw(10*time.Millisecond), nil)
		a.stop(100 * time.Millisecond) // in the middle of reads
		w.run(2*time.Second, nil)
		if len(c.failed) > 0 {
			t.Errorf("seed %d: %v though %s has good copies", seed+1, c.failed, b.name)
		}
		c.expectReading()
	}
}

// A server that tells wrong lengths is left for the reads that it spoils.
func TestWrongLengthsAreTakenForDamage(t *testing.T) {
	for _, known := range []bool{true, false} {
		w := near(t, 1, 2)
		w.servers[0].lies = true
		c := w.target(w.servers[0])
		c.known = known
		c.start()
		w.run(time.Second, nil)
		c.expectReading()
		if c.c.stats.Contradictions+c.c.stats.Rejected == 0 {
			t.Error("nothing was noticed")
		}
	}
}

// A store that takes three seconds for every read makes reads slow. It is no reason to leave the server, and nothing that is pending is
// read a second time.
func TestSlowStoreIsNotLeft(t *testing.T) {
	w := near(t, 1, 2)
	a := w.servers[0]
	a.disk = func() time.Duration { return 3 * time.Second }
	for range 200 {
		c := w.addClient(2, 4, 6, a)
		c.e.up.delay, c.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
		c.e.loss = 0.01
		w.after(w.draw(time.Second), c.start)
	}
	if !w.run(30*time.Second, w.allFinished) {
		t.Fatal("not all targets finish")
	}
	reads := 0
	for _, c := range w.clients {
		reads += c.done
		if c.c.stats.Failovers > 0 || c.serving() != a {
			t.Errorf("%s has left its server", c.name)
		}
	}
	if a.twice > 0 {
		t.Errorf("%d of %d reads of the store were for what was being read", a.twice, a.reads)
	}
	t.Logf("%d reads of the store for %d reads of targets", a.reads, reads)
}

// A server whose store is gone is left for one that has its store; with no other, reads wait until the store is back.
func TestStoreThatIsGone(t *testing.T) {
	w := near(t, 1, 2)
	a, b := w.servers[0], w.servers[1]
	c := w.target(a)
	c.start()
	c.expectReading()
	a.gone = true
	w.run(time.Second, nil)
	c.expectReading()
	if c.serving() != b {
		t.Error("the server without a store is not left")
	}
	b.gone = true
	w.run(20*time.Second, nil)
	if len(c.failed) > 0 {
		t.Errorf("reads fail: %v", c.failed)
	}
	b.gone = false
	w.run(3*time.Second, nil)
	c.expectReading()
}

// Beyond its bounds a server says busy, and the reads are answered all the same.
func TestBusyServerAnswersLater(t *testing.T) {
	w := near(t, 1, 1)
	s := w.servers[0]
	refused := 0
	s.refuse = func(Job) bool {
		refused++
		return refused < 100
	}
	c := w.addClient(32, 2, 400)
	c.start()
	if !w.run(10*time.Second, w.allFinished) || len(c.failed) > 0 {
		t.Errorf("%d reads are done, %v", c.done, c.failed)
	}
	if c.c.stats.Busy == 0 {
		t.Error("nothing was refused")
	}
}

// A target reads with all the fetches that it may have, more ranges than a server takes at once.
func TestManySmallReadsAtOnce(t *testing.T) {
	w := near(t, 1, 1)
	c := w.addClient(MaxFetches, 1, 20000)
	c.random = true
	c.start()
	if !w.run(60*time.Second, w.allFinished) {
		t.Fatalf("%d reads are done, %+v", c.done, c.c.Snapshot())
	}
	if err := c.c.Fetch(c.clock(), &Fetch{Count: 1, Buf: make([]byte, simChunk), Expect: -1}); err != nil {
		t.Error(err)
	}
	if n := c.c.stats.Busy; n > 0 {
		t.Errorf("the server had to refuse %d times", n)
	}
}

// The time that a disk takes is no queue in the network: it does not shrink the window, nor stretch the round trip.
func TestSlowDiskIsNotAFullNetwork(t *testing.T) {
	w := near(t, 1, 1)
	s := w.servers[0]
	s.disk = func() time.Duration { return w.draw(40 * time.Millisecond) }
	c := w.addClient(32, 8, -1)
	c.e.up.delay, c.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
	c.start()
	w.run(2*time.Second, nil)
	if p := c.c.current; p.rtt.smoothed > 2*time.Millisecond || p.win.bytes < 128<<10 {
		t.Errorf("round trip %v, window %d", p.rtt.smoothed, p.win.bytes)
	}
}
