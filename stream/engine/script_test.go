package engine

import (
	"math"
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// A script is what befalls a farm: drawn from the seed, then played. Troubles
// come and go for a while; then it is calm, one good server is there at least,
// and all targets must finish.
type script struct {
	w       *world
	patient time.Duration   // reads may stand still for so long
	good    *simServer      // never damaged, and healthy when it is calm
	ends    Instant         // of the troubles
	sick    map[any]int     // troubles of a node, or of the way between two
	well    map[any]Instant // since when it has none
	history []recording
	strange []netip.AddrPort // addresses at which nobody is
	drawn   int              // target addresses that were given out
	spurned Instant          // until then the targets that the good server refused stay away from it
}

// recording is a datagram as somebody on the path keeps it.
type recording struct {
	from, to netip.AddrPort
	b        []byte
}

const (
	// troubled is how long the troubles last, calm within which every target must finish then.
	troubled = 8 * time.Second
	calm     = 60 * time.Second
	// bearable is how long reads may stand still while some server is well and reachable: a log-in to a server that
	// was set aside. Where much is lost, so may be all messages of one attempt. Shorter bounds for single troubles
	// are tests of their own.
	bearable = 4 * time.Second
	muchLoss = 0.05
)

// logUniform draws from a to b so that each order of magnitude is as likely as another.
func (w *world) logUniform(a, b float64) float64 {
	return a * math.Pow(b/a, w.rng.Float64())
}

func (w *world) draw(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

// newScript draws a farm.
func newScript(w *world) *script {
	s := &script{w: w, sick: map[any]int{}, well: map[any]Instant{}, ends: w.now.Add(troubled)}
	loss := 0.0
	if w.rng.IntN(2) == 0 {
		loss = w.rng.Float64() * 0.2
	}
	if s.patient = bearable; loss > muchLoss {
		s.patient += helloGiveUp
	}
	dup, jitter := 0.0, time.Duration(0)
	if w.rng.IntN(3) == 0 {
		dup = w.rng.Float64() * 0.05
	}
	delay := time.Duration(w.logUniform(0.05, 50) * 1e6)
	if w.rng.IntN(3) == 0 {
		jitter = time.Duration(w.rng.Float64() * float64(delay))
	}
	for i := range 1 + w.rng.IntN(4) {
		v := w.addServer("lab-" + string(rune('a'+i)))
		v.e.up = link{rate: w.logUniform(2e6, 1e8), limit: 1 << 20, delay: 20 * time.Microsecond}
		v.e.down.delay = 20 * time.Microsecond
		v.e.loss = loss / 8 // most of the loss is on the way to the targets
	}
	for range 1 + w.rng.IntN(8) {
		c := w.addClient(1+w.rng.IntN(8), 1+w.rng.IntN(12), -1)
		c.e.up = link{rate: w.logUniform(1e5, 1e7), limit: 256 << 10, delay: delay / 2}
		c.e.down = link{rate: w.logUniform(4e5, 2e7), limit: int(w.logUniform(64<<10, 1<<20)), delay: delay / 2}
		c.e.loss, c.e.dup, c.e.jitter = loss, dup, jitter
		c.random, c.known, c.readAhead = w.rng.IntN(2) == 0, w.rng.IntN(3) == 0, w.rng.IntN(4) == 0
		c.rest = time.Duration(w.logUniform(10, 400) * 1e6)
		if w.rng.IntN(2) == 0 {
			c.c.cfg.Cipher = wire.CipherChaCha20Poly1305
		}
	}
	for i := range 3 {
		s.strange = append(s.strange, netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 6901))
	}
	s.good = w.servers[w.rng.IntN(len(w.servers))]
	w.record = s.record
	return s
}

// record keeps some of what passes.
func (s *script) record(from, to netip.AddrPort, b []byte) {
	kind, err := wire.Peek(b)
	if err != nil || kind == wire.KindSealed && s.w.rng.IntN(20) > 0 {
		return
	}
	r := recording{from, to, append([]byte(nil), b...)}
	if len(s.history) < 512 {
		s.history = append(s.history, r)
	} else {
		s.history[s.w.rng.IntN(len(s.history))] = r
	}
}

// play draws the troubles, lets the world run through them, and then demands
// that all targets finish.
func (s *script) play() {
	w := s.w
	for _, c := range w.clients {
		w.after(w.draw(300*time.Millisecond), c.start)
	}
	for range 3 + w.rng.IntN(10) {
		w.after(w.draw(troubled), s.trouble)
	}
	w.after(0, s.watch)
	w.run(troubled, nil)
	s.heal()
	for _, c := range w.clients {
		c.left = 10 + w.rng.IntN(20)
		c.do(c.pump)
	}
	if !w.run(calm, w.allFinished) {
		for _, c := range w.clients {
			if !c.finished() {
				w.trace("%s: %d to begin, %d open; %+v", c.name, c.left, c.open, c.c.Snapshot())
			}
		}
		w.fail("not all targets finish when it is calm")
	}
	for _, c := range w.clients {
		if len(c.failed) > 0 {
			w.fail("%s: a read failed though %s has good copies: %v", c.name, s.good.name, c.failed)
		}
	}
}

// heal ends the troubles of the good server and of all targets.
func (s *script) heal() {
	w := s.w
	w.trace("calm")
	v := s.good
	if v.denies != 0 {
		s.spurned = w.now.Add(denyMax)
	}
	if v.dead {
		v.restart()
	}
	if v.frozen {
		v.thaw()
	}
	v.e.cut, v.e.most, v.full, v.gone, v.denies = false, 0, false, false, 0
	v.disk = func() time.Duration { return 200 * time.Microsecond }
	v.front.Start()
	w.tearDown(&v.e)
	for _, c := range w.clients {
		c.e.cut, c.e.most = false, 0
		if c.frozen {
			c.thaw()
		}
	}
	clear(s.sick)
	s.well[v] = later(w.now, s.spurned)
	for _, c := range w.clients {
		s.well[c] = w.now
	}
	for _, o := range w.servers {
		if o != v {
			s.sick[o]++ // whatever they do now
		}
	}
}

// fall marks a node as being in trouble, and rise ends it.
func (s *script) fall(node any) { s.sick[node]++ }

func (s *script) rise(node any, after time.Duration, undo func()) {
	s.w.after(after, func() {
		if s.w.now >= s.ends && node == any(s.good) {
			return // it is calm; the good server has been healed
		}
		undo()
		if s.sick[node]--; s.sick[node] <= 0 {
			s.sick[node] = 0
			s.well[node] = s.w.now
		}
	})
}

// watch fails when a target's reads stand still for long although it, some
// server and the way between them have been well all the while.
func (s *script) watch() {
	w := s.w
	w.after(100*time.Millisecond, s.watch)
	since := w.now.Add(-s.patient)
	wellSince := func(node any) bool { return s.sick[node] == 0 && s.well[node] <= since }
	for _, c := range w.clients {
		if c.pause() <= s.patient || !wellSince(c) || c.c.closed {
			continue
		}
		for _, v := range w.servers {
			if wellSince(v) && (v == s.good || len(v.damaged) == 0) && wellSince(between(c, v)) {
				w.fail("%s stands still for %v though it, %s and the way between are well: %+v", c.name, c.pause(), v.name, c.c.Snapshot())
			}
		}
	}
}
