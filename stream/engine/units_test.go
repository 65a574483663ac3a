package engine

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// The estimate follows RFC 6298, a coarse sample cannot bring it to zero, and times that hang on it have bounds.
func TestRoundTripEstimate(t *testing.T) {
	var r rtt
	if r.known() || r.resend() != unknownResend {
		t.Error("something is known of nothing")
	}
	r.sample(0)
	if !r.known() || r.smoothed != minRoundTrip {
		t.Errorf("%+v", r)
	}
	r = rtt{}
	r.sample(80 * time.Millisecond)
	if r.smoothed != 80*time.Millisecond || r.variation != 40*time.Millisecond || r.resend() != 320*time.Millisecond {
		t.Errorf("%+v", r)
	}
	r.sample(160 * time.Millisecond)
	if r.smoothed != 90*time.Millisecond || r.variation != 50*time.Millisecond {
		t.Errorf("%+v", r)
	}
	r.sample(time.Hour)
	if r.resend() != maxResend {
		t.Errorf("re-sends after %v", r.resend())
	}
}

// The queue keeps its order whatever is taken out of it, and grows.
func TestFetchQueueKeepsItsOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var q fetchQueue
	var want []*Fetch
	for range 20000 {
		switch n := len(want); {
		case rng.IntN(3) > 0 && n < 300 || n == 0:
			f := &Fetch{}
			if rng.IntN(4) == 0 {
				q.pushFront(f)
				want = append([]*Fetch{f}, want...)
			} else {
				q.push(f)
				want = append(want, f)
			}
		default:
			i := 0
			if rng.IntN(2) == 0 {
				i = rng.IntN(n)
			}
			q.remove(want[i])
			if want[i].queue != nil {
				t.Fatal("a fetch that was taken out believes that it stands in line")
			}
			want = append(want[:i:i], want[i+1:]...)
		}
		if f := q.front(); len(want) == 0 && f != nil || len(want) > 0 && (f != want[0] || f.queue != &q) {
			t.Fatal("the wrong one is in front")
		}
	}
}

// A budget grants its rate and burst, and sends away those it has nothing for so that they come back one after another.
func TestBudgetSpreadsThoseWhoWait(t *testing.T) {
	b := newBudget(100, 10)
	now := Instant(time.Hour)
	for range 10 {
		if ok, _ := b.take(now); !ok {
			t.Fatal("the burst is not granted")
		}
	}
	var last time.Duration
	for i := range 50 {
		ok, wait := b.take(now)
		if ok || wait <= last {
			t.Fatalf("number %d is told to wait for %v, the one before for %v", i, wait, last)
		}
		last = wait
	}
	if last < 450*time.Millisecond || last > 550*time.Millisecond {
		t.Errorf("the last of 50 waits for %v", last)
	}
	granted := 0
	for range 1000 {
		now = now.Add(time.Millisecond)
		if ok, _ := b.take(now); ok {
			granted++
		}
	}
	if granted < 98 || granted > 102 {
		t.Errorf("%d granted in a second", granted)
	}
}

// However many targets reconnect at once, none is refused: each is let in or told to come again within a second, also
// while boots have used up their budget and nobody settles what is half open.
func TestReconnectsAreNeverRefusedForLoad(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a").front
	now := s.epochAt
	login := func(flags wire.LoginFlags) Decision {
		d, reply := s.Decide(now, &Greeting{r: &secure.Responder{}, login: wire.Login{Flags: flags}}, 1)
		if reply.RetryAfterMS != d.RetryAfterMS {
			t.Fatalf("the reply says %d ms, not %d", reply.RetryAfterMS, d.RetryAfterMS)
		}
		return d
	}
	for range 2 * defaultBoots {
		login(0)
	}
	waiting := 3 * halfOpenMax
	for rounds := 0; waiting > 0; rounds++ {
		if rounds > 60 {
			t.Fatalf("%d still wait", waiting)
		}
		for range waiting {
			switch d := login(wire.LoginReconnect); {
			case d.Result == wire.ResultAccept:
				waiting--
			case d.Result != wire.ResultBusy || d.Code != wire.CodeTooMany:
				t.Fatalf("refused: %+v", d)
			case d.RetryAfterMS == 0 || d.RetryAfterMS > uint32(reconnectWait.Milliseconds()):
				t.Fatalf("told to come again after %d ms", d.RetryAfterMS)
			}
		}
		now = now.Add(reconnectWait)
	}
}

// Half-open handshakes that nobody settles are forgotten.
func TestHalfOpenHandshakesAreForgotten(t *testing.T) {
	var h halfOpen
	now := Instant(time.Hour)
	for range 100 {
		h.count(now)
		h.counts[0]++
	}
	h.settle()
	if n := h.count(now); n != 99 {
		t.Errorf("%d are open", n)
	}
	if n := h.count(now.Add(halfOpenLife - 1)); n != 99 {
		t.Errorf("%d are open", n)
	}
	if n := h.count(now.Add(2 * halfOpenLife)); n != 0 {
		t.Errorf("%d are open after they have ended", n)
	}
	for range 10 {
		h.settle()
	}
	if n := h.count(now); n != 0 {
		t.Errorf("%d are open", n)
	}
}

// Sessions get equal shares in bytes, whatever the size of their datagrams and however much they have to say besides.
func TestScheduleSharesBytesEvenly(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	var line Schedule
	var list []*open
	sent := map[*Session]int{}
	for i := range 4 {
		o := openByTicket(t, w, s, nil)
		o.send(attackHome, wire.Ping{Token: 1})
		o.drain()
		o.sess.packet = []int{1200, 1472, 8972, 65000}[i]
		o.sess.probeAt = Never
		list = append(list, o)
	}
	feed := func(o *open) {
		for id := uint32(1); o.sess.taken < 8; id++ {
			o.send(attackHome, wire.Read{ID: w.rng.Uint32(), Count: 16, First: 64})
			for _, j := range o.sess.Jobs(nil) {
				b := w.image.answer(j.Level, j.First, j.Count)
				o.sess.Complete(w.now, j, &simBuffer{w: w, b: b[j.From:]}, len(b))
			}
		}
		line.Add(o.sess)
	}
	buf := make([]byte, maxTrain)
	total := 0
	for total < 100<<20 {
		for i, o := range list {
			feed(o)
			if i == 0 { // this one talks all the time
				o.send(attackHome, wire.Ping{Token: 2})
				line.Add(o.sess)
			}
		}
		for range 4 {
			sess, limit := line.Next()
			n := len(sess.Fill(w.now, buf, limit).Data)
			sent[sess] += n
			total += n
			line.Sent(sess, n)
		}
	}
	for i, o := range list {
		if share := float64(sent[o.sess]) / float64(total); share < 0.24 || share > 0.26 {
			t.Errorf("session %d gets %.3f of the bytes", i, share)
		}
	}
}

// What a session says beside data does not wait for the data of others.
func TestControlFramesDoNotWaitForData(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	var line Schedule
	for range 50 {
		o := openByTicket(t, w, s, nil)
		o.send(attackHome, wire.Ping{Token: 1})
		o.drain()
		o.send(attackHome, wire.Read{ID: 1, Count: 16, First: 64})
		for _, j := range o.sess.Jobs(nil) {
			b := w.image.answer(j.Level, j.First, j.Count)
			o.sess.Complete(w.now, j, &simBuffer{w: w, b: b}, len(b))
		}
		line.Add(o.sess)
	}
	o := openByTicket(t, w, s, nil)
	o.send(attackHome, wire.Ping{Token: 1})
	line.Add(o.sess)
	if sess, _ := line.Next(); sess != o.sess {
		t.Error("the answer to a ping waits for the data of others")
	}
}

// The slots of a planned stop lie one after another and well before the deadline.
func TestSlotsOfAPlannedStop(t *testing.T) {
	for _, total := range []int{1, 2, 14, 1000, 60000} {
		last := time.Duration(-1)
		for n := range total {
			at := Slot(n, total, 30*time.Second)
			if at < last || at > 10*time.Second {
				t.Fatalf("slot %d of %d is at %v, the one before at %v", n, total, at, last)
			}
			last = at
		}
	}
}

// The window neither falls below its least nor grows beyond its most, and a target that never sees its base again looks for it.
func TestWindowStaysInBounds(t *testing.T) {
	for _, most := range []int{minWindow, 100_000, maxWindow} {
		windowStaysInBounds(t, most)
	}
}

func windowStaysInBounds(t *testing.T, most int) {
	rng := rand.New(rand.NewPCG(1, 1))
	w := newWindow(most)
	now := Instant(time.Hour)
	drains := 0
	for i := range 200000 {
		now = now.Add(time.Duration(rng.IntN(2_000_000)))
		trip := time.Duration(1+rng.IntN(30)) * time.Millisecond
		if i > 1000 {
			trip += 20 * time.Millisecond // the way has become longer
		}
		was := w.draining
		w.sample(now, now.Add(-trip), trip)
		w.limited = rng.IntN(4) > 0
		w.received(now, rng.IntN(65536), 10*time.Millisecond)
		if rng.IntN(10) == 0 {
			w.miss(rng.IntN(65536))
		}
		if rng.IntN(1000) == 0 {
			w.collapse()
		}
		if w.bytes < minWindow || w.bytes > most || w.piece() < leastPiece || w.piece() > mostPiece || w.allowed() < leastPiece {
			t.Fatalf("%+v", w)
		}
		if w.draining && !was {
			drains++
		}
	}
	if drains == 0 && most > 2*minWindow {
		t.Error("it never looked for its base")
	}
}

// A server that refused is asked again soon, and less and less often up to a bound; once it serves, that is forgotten.
func TestAServerThatRefusesIsAskedAgainSoonAndThenSeldom(t *testing.T) {
	s := &server{}
	for i, want := range []time.Duration{denyMin, 2 * denyMin, 4 * denyMin, denyMax, denyMax} {
		now := Instant(time.Hour) * Instant(i+1)
		if s.refuses(now); s.notBefore.Sub(now) != want {
			t.Errorf("refusal %d: asked again after %v, want %v", i+1, s.notBefore.Sub(now), want)
		}
	}
	s.works()
	if s.refuses(0); s.notBefore.Sub(0) != denyMin {
		t.Errorf("after it has served: asked again after %v", s.notBefore.Sub(0))
	}
}
