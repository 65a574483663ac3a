// ENGINE OWNER (helper): fix every finding of /tmp/team/review-engine.md at its root, these tests show them; remove this line.
package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// The tests in this file attack: each plays somebody who knows the farm's public key, a device of his own, and what passes on the network.

var (
	attackHome   = netip.MustParseAddrPort("198.51.100.1:6901")
	attackVictim = netip.MustParseAddrPort("203.0.113.9:9999")
)

// open is a session as a target of its own making holds it, without a client engine.
type open struct {
	s      *simServer
	sess   *Session
	sealer *secure.Sealer
	opener *secure.Opener
	flight *secure.Flight
}

// openByHello logs a target in by a full handshake; nothing sealed was sent yet.
func openByHello(t *testing.T, w *world, s *simServer) *open {
	device, err := secure.GenerateKey(w.reader())
	if err != nil {
		t.Fatal(err)
	}
	h, err := secure.NewInitiator(w.reader(), device, w.farm.Public(), [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	head := wire.Hello{Index: 7, MinVersion: wire.MinProtocol, MaxVersion: wire.MaxProtocol, Cipher: wire.CipherAES256GCM}
	hello, err := h.Hello(nil, head, wire.Login{Number: wire.NewestVersion}.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	g, _, err := s.front.Greet(attackHome, netip.Addr{}, hello)
	if err != nil {
		t.Fatal(err)
	}
	index := s.index()
	d, reply := s.front.Decide(w.now, g, index)
	welcome, sess, err := g.Welcome(w.now, w.reader(), d, reply, index)
	if err != nil {
		t.Fatal(err)
	}
	_, _, keys, err := h.Welcome(welcome)
	if err != nil {
		t.Fatal(err)
	}
	return &open{
		s: s, sess: sess, sealer: secure.NewSealer(keys.Send, keys.Cipher),
		opener: secure.NewOpener(keys.Receive, keys.Cipher, clientReplayWindow),
	}
}

// resume hands a flight to a server as its owner does.
func resume(s *simServer, from netip.AddrPort, f *secure.Flight) (sess *Session, made bool, answer []byte) {
	r := s.front.Resume(s.w.now, from, netip.Addr{}, f.Again(nil), s.index())
	if r.Session != nil {
		r.Session.Flight(s.w.now, from, r.Frames)
	}
	return r.Session, r.Made, r.Answer
}

// openByTicket resumes with a ticket that names attackHome.
func openByTicket(t *testing.T, w *world, s *simServer, frames []byte) *open {
	ticket, err := s.front.ticket(Who{Addr: attackHome}, w.image.disk.Content)
	if err != nil {
		t.Fatal(err)
	}
	head := wire.Resume{Index: 7, Cipher: wire.CipherAES256GCM}
	f, err := secure.NewFlight(w.reader(), w.farm.Public(), head, ticket.Ticket, ticket.Secret, frames)
	if err != nil {
		t.Fatal(err)
	}
	sess, made, answer := resume(s, attackHome, f)
	if !made {
		t.Fatalf("no session, %d bytes of answer", len(answer))
	}
	o := &open{s: s, sess: sess, flight: f}
	if sess.first != nil {
		keys := f.Keys(*sess.first)
		o.sealer = secure.NewSealer(keys.Send, keys.Cipher)
		o.opener = secure.NewOpener(keys.Receive, keys.Cipher, clientReplayWindow)
	}
	return o
}

// send hands sealed frames to the session as if they came from an address, and returns the datagram.
func (o *open) send(from netip.AddrPort, frames ...wire.Frame) []byte {
	b := make([]byte, wire.SealedSize, 1<<16)
	for _, f := range frames {
		b = f.Append(b)
	}
	datagram := o.sealer.Seal(b, o.sess.index)
	copied := append([]byte(nil), datagram...)
	o.sess.Receive(o.s.w.now, from, netip.Addr{}, datagram)
	return copied
}

// drain takes everything that the session wants to send.
func (o *open) drain() (trains []Train) {
	for i := 0; i < 1000 && o.sess.HasOutput(); i++ {
		t := o.sess.Fill(o.s.w.now, make([]byte, maxTrain), maxTrain)
		if len(t.Data) == 0 {
			break
		}
		trains = append(trains, t)
	}
	return trains
}

// A target cannot make a server send to an address at which it does not receive, by claiming the answer to a check that it never saw.
func TestPathCheckCannotBeAnsweredByWhoDidNotReceiveIt(t *testing.T) {
	w := newWorld(t, 1)
	o := openByHello(t, w, w.addServer("lab-a"))
	o.send(attackHome, wire.Ping{Token: 1})
	spoofed := o.send(attackVictim, wire.Ping{Token: 2})
	// All that the target knows without receiving at the victim's address is what it sent itself.
	guess := le64(spoofed[len(spoofed)-8:]) | 1
	o.send(attackVictim, wire.PathAnswer{Token: guess})
	if o.sess.Addr() == attackVictim {
		t.Error("the session moved to an address that has proven nothing")
	}
}

// An answer before the address is proven is not longer than what it answers.
func TestPathCheckIsNotLongerThanItsCause(t *testing.T) {
	w := newWorld(t, 1)
	o := openByHello(t, w, w.addServer("lab-a"))
	o.send(attackHome, wire.Ping{Token: 1})
	o.drain()
	cause := o.send(attackVictim) // an empty sealed datagram
	for _, train := range o.drain() {
		if train.To == attackVictim && len(train.Data) > len(cause) {
			t.Errorf("%d bytes are answered by %d", len(cause), len(train.Data))
		}
	}
}

// A flight can be replayed, so it must be worth nothing once the target has sent under the session keys.
func TestFlightReplayedIntoAConfirmedSessionReadsNothing(t *testing.T) {
	w := newWorld(t, 1)
	read := wire.Read{ID: 1, Count: 8}
	o := openByTicket(t, w, w.addServer("lab-a"), read.Append(nil))
	o.send(attackHome, wire.Ping{Token: 1})
	for _, j := range o.sess.Jobs(nil) {
		b := w.image.answer(j.Level, j.First, j.Count)
		o.sess.Complete(w.now, j, &simBuffer{w: w, b: b}, len(b))
	}
	o.drain()
	if jobs := o.sess.Jobs(nil); len(jobs) > 0 || o.sess.taken > 0 {
		t.Fatalf("the first answer is not through: %d jobs", len(jobs))
	}
	resume(o.s, attackHome, o.flight)
	if jobs := o.sess.Jobs(nil); len(jobs) > 0 {
		t.Errorf("a recorded flight of 1200 bytes makes a proven session read and send again: %d jobs", len(jobs))
	}
}

// Only reads travel in a flight: nothing that a recording could change later.
func TestFlightCarriesReadsOnly(t *testing.T) {
	w := newWorld(t, 1)
	leave := wire.Leave{Reason: wire.LeaveDetached}
	o := openByTicket(t, w, w.addServer("lab-a"), leave.Append(wire.Status{Seq: 1, Bytes: 99}.Append(nil)))
	if o.sess.Ended() || o.sess.Status.Bytes == 99 {
		t.Error("a flight can end a session or report a status")
	}
}

// One recorded flight must not give as many sessions as an attacker has ports.
func TestOneFlightMakesOneSession(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	o := openByTicket(t, w, s, nil)
	made := 1
	for port := range uint16(100) {
		from := netip.AddrPortFrom(attackVictim.Addr(), 1000+port) // proven: the attacker receives there
		sess, again, answer := resume(s, from, o.flight)
		if kind, _ := wire.Peek(answer); sess == nil && kind == wire.KindCookie {
			if err := o.flight.Cookie(answer); err != nil {
				t.Fatal(err)
			}
			_, again, _ = resume(s, from, o.flight)
		}
		if again {
			made++
		}
	}
	if made > 2 {
		t.Errorf("one flight made %d sessions", made)
	}
}

// Work that a target causes is bounded however many frames it sends.
func TestBadFramesCauseBoundedWork(t *testing.T) {
	w := newWorld(t, 1)
	o := openByHello(t, w, w.addServer("lab-a"))
	frames := make([]wire.Frame, 4000)
	for i := range frames {
		frames[i] = wire.Bad{Index: uint64(i % 64)}
	}
	o.send(attackHome, frames...)
	if n := len(o.sess.Jobs(nil)); n > MaxReads {
		t.Errorf("one datagram asks for %d objects to be read and verified", n)
	}
}

// HasOutput and Fill agree; otherwise the egress goes round and round with nothing to send.
func TestFillMakesSomethingWheneverThereIsOutput(t *testing.T) {
	w := newWorld(t, 1)
	for credit := 1; credit < 200; credit++ {
		o := openByTicket(t, w, w.addServer("lab-a"), nil)
		o.drain()
		o.sess.credit = credit
		o.sess.queue(wire.Pending{ID: 1})
		if !o.sess.HasOutput() {
			continue
		}
		if tr := o.sess.Fill(w.now, make([]byte, maxTrain), maxTrain); len(tr.Data) == 0 {
			t.Fatalf("with %d bytes of credit there is output, and none is made", credit)
		}
	}
}

// A target that keeps a session busy cannot carry it beyond the life of its keys: there is always a tick in time.
func TestDeadlineComesNoLaterThanTheEndOfTheKeys(t *testing.T) {
	w := newWorld(t, 1)
	o := openByHello(t, w, w.addServer("lab-a"))
	o.send(attackHome, wire.Ping{Token: 1})
	o.sess.probeAt = Never
	end := o.sess.Born().Add(sessionLife + sessionLife/6)
	w.now = end.Add(-time.Second)
	o.send(attackHome, wire.Ping{Token: 2})
	if d := o.sess.Deadline(); d > end.Add(time.Second) {
		t.Errorf("the next tick is %v after the keys should have gone", d.Sub(end))
	}
}

// The answer to a range behind the end says how long the answer is, in a frame that can be read.
func TestRangeBehindTheEndIsAnsweredReadably(t *testing.T) {
	w := newWorld(t, 1)
	o := openByHello(t, w, w.addServer("lab-a"))
	read := wire.Read{ID: 1, Count: 1, N: 1}
	read.Ranges[0] = wire.Range{From: simChunk - 1, To: simChunk}
	for i := range w.image.levels[0] {
		if len(w.image.levels[0][i]) < simChunk/2 {
			read.First = uint64(i)
			break
		}
	}
	o.send(attackHome, read)
	for _, j := range o.sess.Jobs(nil) {
		b := w.image.answer(j.Level, j.First, j.Count)
		o.sess.Complete(w.now, j, &simBuffer{w: w, b: b[min(j.From, len(b)):]}, len(b))
	}
	found := false
	for _, train := range o.drain() {
		for at := 0; at < len(train.Data); at += train.Segment {
			frames, _, err := o.opener.Open(train.Data[at:min(at+train.Segment, len(train.Data))])
			if err != nil {
				t.Fatal(err)
			}
			for rest := frames; len(rest) > 0; {
				typ, body, more, err := wire.Next(rest)
				if err != nil {
					t.Fatal(err)
				}
				if rest = more; typ == wire.FrameData {
					found = true
					if _, err := wire.ParseData(body); err != nil {
						t.Errorf("the server's own frame: %v", err)
					}
				}
			}
		}
	}
	if !found {
		t.Error("no answer")
	}
}

// Attempts give up one by one and leave the others alone.
func TestAttemptsThatGiveUpLeaveTheOthersAlone(t *testing.T) {
	w := newWorld(t, 1)
	var servers []*simServer
	for _, name := range []string{"lab-a", "lab-b", "lab-c"} {
		s := w.addServer(name)
		s.e.cut = true
		servers = append(servers, s)
	}
	c := w.addClient(1, 1, 1)
	c.start()
	w.run(20*time.Second, nil)
	for _, s := range servers {
		s.e.cut = false
	}
	if !w.run(20*time.Second, w.allFinished) {
		t.Error("not served after the servers came back")
	}
}

// A forged hint makes a target look, and changes nothing while its server is alive.
func TestForgedHintMovesNothing(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	s.e.up.delay, s.e.down.delay = 100*time.Microsecond, 100*time.Microsecond
	c := w.addClient(2, 4, -1)
	c.rest = 10 * time.Millisecond
	c.start()
	w.run(2*time.Second, nil)
	p := c.c.current
	if p == nil {
		t.Fatal("not served")
	}
	for range 20 {
		hint := wire.Hint{Receiver: p.peer, Hint: wire.HintUnknownSession, MinVersion: 1, MaxVersion: 1}
		c.arrive(s.e.addr, hint.Append(nil))
		w.run(200*time.Millisecond, nil)
	}
	if c.c.current != p || c.c.stats.Failovers != 0 {
		t.Errorf("forged hints replaced the session; %d failovers are told to people", c.c.stats.Failovers)
	}
}

// An alternate whose id is not known (zero on the wire) can still be moved to.
func TestAlternateWithoutIDIsNotBoundToZero(t *testing.T) {
	w := newWorld(t, 1)
	w.addServer("lab-a")
	c := w.addClient(1, 1, 1)
	addr := netip.MustParseAddrPort("192.0.2.200:6910")
	c.c.learn(wire.Alternates{List: []wire.Alternate{{Name: "lab-x", Addr: addr, State: wire.StateServing}}})
	for _, s := range c.c.servers {
		if s.addr == addr && s.named && s.id == (ServerID{}) {
			t.Error("answers of this server will be taken for a stranger's: its id is fixed to zero")
		}
	}
}

// A ticket that was used already is worth nothing to whoever cannot show that he receives at the address that it names.
func TestUsedTicketNeedsProofOfTheAddress(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	ticket, err := s.front.ticket(Who{Addr: attackHome}, w.image.disk.Content)
	if err != nil {
		t.Fatal(err)
	}
	fly := func() Resumed {
		f, err := secure.NewFlight(w.reader(), w.farm.Public(), wire.Resume{Index: 7, Cipher: wire.CipherAES256GCM}, ticket.Ticket, ticket.Secret, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.front.Resume(w.now, attackHome, netip.Addr{}, f.Again(nil), s.index())
	}
	if r := fly(); !r.Made || r.Session.proven {
		t.Fatalf("the first flight: %+v", r)
	}
	r := fly()
	if kind, _ := wire.Peek(r.Answer); r.Made || kind != wire.KindCookie {
		t.Errorf("the second flight with that ticket makes a session: %v, answer of kind %v", r.Made, kind)
	}
}

// However much a target asks for, its session holds a bounded part of it in memory, and answers all in the end.
func TestMemoryOfASessionIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.image.disk.Size, w.image.disk.ChunkSize = 1<<40, 1<<20
	o := openByHello(t, w, w.addServer("lab-a"))
	o.send(attackHome, wire.Ping{Token: 1})
	o.drain()
	o.sess.probeAt = Never
	for id := range uint32(2 * MaxReads) {
		o.send(attackHome, wire.Read{ID: id + 1, Count: 4, First: uint64(4 * id)})
	}
	if o.sess.taken != MaxReads {
		t.Errorf("%d requests are in work", o.sess.taken)
	}
	reads := 0
	var held []Job
	for o.sess.taken > 0 {
		held = append(held, o.sess.Jobs(nil)...)
		if n := len(held) * jobBytes; n > sessionBytes+jobBytes || o.sess.inWork > sessionBytes+jobBytes {
			t.Fatalf("%d bytes are to be read at once, %d count as held", n, o.sess.inWork)
		}
		if len(held) == 0 {
			t.Fatal("nothing more is read, and not all is answered")
		}
		j := held[0]
		held = held[1:]
		o.sess.Complete(w.now, j, &simStatic{make([]byte, min(jobBytes, j.To-j.From))}, 4<<20)
		reads++
		if reads > MaxReads {
			o.sess.End() // enough: it goes on
			break
		}
		for o.sess.HasOutput() {
			o.sess.Fill(w.now, make([]byte, maxTrain), maxTrain)
		}
	}
}

// One datagram cannot make a server look at a million pairs of requests.
func TestRequestsOfADatagramAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	o := openByHello(t, w, w.addServer("lab-a"))
	var frames []wire.Frame
	for id := range uint32(400) {
		r := wire.Read{ID: id + 1, Count: 1, N: wire.MaxRanges}
		for i := range r.Ranges {
			r.Ranges[i] = wire.Range{From: uint32(2 * i), To: uint32(2*i + 1)}
		}
		frames = append(frames, r)
	}
	o.send(attackHome, frames...)
	if o.sess.taken > MaxReads || o.sess.Stats.Refused < 400*wire.MaxRanges-MaxReads {
		t.Errorf("%d requests are in work, %d were refused", o.sess.taken, o.sess.Stats.Refused)
	}
	o.send(attackHome, wire.Ping{Token: 1})
	if len(o.drain()) == 0 {
		t.Error("the session does not answer any more")
	}
}
