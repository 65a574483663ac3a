package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// The tests in this file step one end, or two without a network between them.

// A server that its target has left for a wrong length is not believed again when more of its datagrams come.
func TestBytesOfAnAvoidedServerAreDropped(t *testing.T) {
	p := newPair(t, 1472)
	f := p.free[0]
	p.free = p.free[1:]
	f.Expect = 1000
	if err := p.c.Fetch(p.w.now, f); err != nil {
		t.Fatal(err)
	}
	p.c.Flush(p.w.now)
	liar := p.c.current
	for range 3 {
		p.c.data(p.w.now, liar, &wire.Data{ID: f.id, Total: 2000, Payload: make([]byte, 100)}, 1)
	}
	if n := p.c.stats.Contradictions; n != 1 || len(f.avoid) != 1 {
		t.Errorf("%d contradictions, %d servers avoided", n, len(f.avoid))
	}
	p.c.data(p.w.now, liar, &wire.Data{ID: f.id, Total: 1000, Payload: make([]byte, 1000)}, 2)
	if f.asked > 0 || f.done() {
		t.Error("bytes of a server that is avoided are taken")
	}
}

// A fetch whose bytes did not fit together takes those of one server only.
func TestFetchAloneTakesBytesOfOneServer(t *testing.T) {
	p := newPair(t, 1472)
	f := p.free[0]
	if err := p.c.Fetch(p.w.now, f); err != nil {
		t.Fatal(err)
	}
	f.alone = true
	p.c.Flush(p.w.now)
	other := &path{server: &server{named: true, id: ServerID{9}}, win: newWindow(maxWindow)}
	p.c.data(p.w.now, other, &wire.Data{ID: f.id, Total: uint32(f.limit), Payload: make([]byte, 1000)}, 1)
	if len(f.Servers) > 0 || f.asks[0].from > 0 {
		t.Error("bytes of another server are taken")
	}
	p.c.data(p.w.now, p.c.current, &wire.Data{ID: f.id, Total: uint32(f.limit), Payload: make([]byte, 1000)}, 1)
	if len(f.Servers) != 1 {
		t.Error("bytes of the one server are not taken")
	}
}

// A target that did not run itself for a while gives its server another chance before it counts the silence.
func TestOwnStandstillIsNotTheServersSilence(t *testing.T) {
	p := newPair(t, 1472)
	p.w.now = p.w.now.Add(time.Millisecond)
	p.ask(t)
	at := p.w.now
	for p.c.current.probes < leastProbes { // requests and answers are lost
		at = p.c.Deadline()
		p.c.Tick(at)
	}
	p.c.Deadline()
	at = at.Add(time.Second) // the machine stood still
	p.c.Tick(at)
	if p.c.current.suspect {
		t.Error("the server is suspected for what was not its silence")
	}
	for at < p.w.now.Add(3*time.Second) && !p.c.current.suspect {
		at = p.c.Deadline()
		p.c.Tick(at)
	}
	if !p.c.current.suspect {
		t.Error("true silence is not noticed any more")
	}
}

// Each request is answered within 5 ms, with data or with pending, and told so once.
func TestPromiseOfPending(t *testing.T) {
	w := newWorld(t, 1)
	o := openByHello(t, w, w.addServer("lab-a"))
	o.send(attackHome, wire.Ping{Token: 1})
	o.drain()
	o.sess.probeAt = Never
	o.send(attackHome, wire.Read{ID: 5, Count: 1}, wire.Read{ID: 6, Count: 1, First: 3})
	w.now = o.sess.Deadline()
	if late := w.now.Sub(worldBegins); late > promise {
		t.Fatalf("the session wants to be looked at after %v", late)
	}
	o.sess.Tick(w.now)
	pending := map[uint32]int{}
	count := func() {
		for _, train := range o.drain() {
			frames, _, err := o.opener.Open(train.Data)
			if err != nil {
				t.Fatal(err)
			}
			for rest := frames; len(rest) > 0; {
				typ, body, more, err := wire.Next(rest)
				if err != nil {
					t.Fatal(err)
				}
				rest = more
				if f, err := wire.ParsePending(body); err == nil && typ == wire.FramePending {
					pending[f.ID]++
				}
			}
		}
	}
	count()
	w.now = w.now.Add(time.Second)
	o.sess.Tick(w.now)
	count()
	if pending[5] != 1 || pending[6] != 1 {
		t.Errorf("pending was told %v times", pending)
	}
}

// A fetch that has fallen into as many ranges as it may goes on when some of them have come, though nothing became due.
func TestFetchInManyPiecesGoesOn(t *testing.T) {
	p := newPair(t, 1472)
	f := p.free[0]
	f.Expect = jobBytes
	if err := p.c.Fetch(p.w.now, f); err != nil {
		t.Fatal(err)
	}
	path := p.c.current
	path.win.bytes = 64 << 10
	p.c.Flush(p.w.now)
	asked := f.asked
	piece := func(at int) {
		p.c.data(p.w.now, path, &wire.Data{ID: f.id, Position: uint32(at), Total: uint32(f.limit), Payload: make([]byte, 100)}, 1)
	}
	for at := 100; len(f.asks) < maxAsks; at += 200 {
		piece(at)
	}
	p.c.Flush(p.w.now)
	if asked == f.limit || f.queue != nil {
		t.Fatalf("%d of %d bytes are asked for in %d ranges", f.asked, f.limit, len(f.asks))
	}
	for at := 0; len(f.asks) == maxAsks; at += 200 {
		piece(at) // which had only been overtaken
	}
	if f.queue == nil {
		t.Error("the fetch does not stand in line for the rest")
	}
}

// What arrived while the target itself stood still says nothing about the round trip.
func TestRoundTripAcrossAStandstillIsNoSample(t *testing.T) {
	p := newPair(t, 1472)
	before := p.c.current.rtt
	p.ask(t)
	p.answer()
	train := p.s.Fill(p.w.now, p.buf, maxTrain)
	p.c.Deadline()
	at := p.w.now.Add(3 * time.Second)
	p.c.Receive(at, p.w.servers[0].e.addr, train.Data[:train.Segment])
	if p.c.current.rtt != before {
		t.Errorf("%+v became %+v", before, p.c.current.rtt)
	}
}

// A ticket flight has an answer each time that it comes, also when it asks for nothing.
func TestFlightWithoutReadsIsAnsweredEachTime(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	o := openByTicket(t, w, s, nil)
	for range 3 { // each answer but the last is lost
		r := s.front.Resume(w.now, attackHome, netip.Addr{}, o.flight.Again(nil), s.index())
		if r.Made || r.Session != o.sess {
			t.Fatalf("%+v", r)
		}
		o.sess.Flight(w.now, attackHome, r.Frames)
		if !o.sess.Wants() {
			t.Fatal("no offer is wanted")
		}
		s.front.Offer(w.now, o.sess)
		if len(o.drain()) == 0 {
			t.Fatal("no answer")
		}
	}
}

// A round trip that was terrible while a machine was overloaded does not hide for long that the server is dead later.
func TestOverloadDoesNotHideADeadServer(t *testing.T) {
	p := newPair(t, 1472)
	path := p.c.current
	for range 20 {
		path.rtt.sample(3 * time.Second)
	}
	p.w.now = p.w.now.Add(time.Millisecond)
	p.ask(t)
	at := p.w.now
	for !path.suspect && at < p.w.now.Add(time.Minute) { // nothing is answered any more
		at = p.c.Deadline()
		p.c.Tick(at)
	}
	const bound = 3*(minResend+mostQueueing) + promise + pendingSlack
	if d := at.Sub(p.w.now); d < silence || d > bound {
		t.Errorf("the server is suspected after %v, allowed %v", d, bound)
	}
	if path.hinted = p.w.now; path.hintedAt() > p.w.now.Add(2*mostQueueing) {
		t.Errorf("a hint that it was restarted counts after %v", path.hintedAt().Sub(p.w.now))
	}
}

// A way that is long by itself is given the time that it takes.
func TestALongWayIsNoSilence(t *testing.T) {
	var r rtt
	for range 20 {
		r.sample(600 * time.Millisecond)
	}
	if r.patience() < 600*time.Millisecond+promise || r.look() < 600*time.Millisecond {
		t.Errorf("patience %v, look after %v", r.patience(), r.look())
	}
}
