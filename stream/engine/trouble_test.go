package engine

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// trouble lets one thing happen, to a server, a target, or the network.
func (s *script) trouble() {
	w := s.w
	v := w.servers[w.rng.IntN(len(w.servers))]
	c := w.clients[w.rng.IntN(len(w.clients))]
	d := time.Duration(w.logUniform(10, 4000) * 1e6)
	kinds := []func(){
		func() { s.crash(v, d) }, func() { s.crash(v, d) },
		func() { s.freeze(v, d) }, func() { s.freeze(v, d) },
		func() { s.stop(v, d) }, func() { s.stop(v, d) },
		func() { s.cut(v, &v.e, v.name, d) }, func() { s.cut(c, &c.e, c.name, d) },
		func() { s.part(d) }, func() { s.part(d) }, func() { s.part(d) },
		func() { s.slow(v, d) },
		func() { s.freezeTarget(c, d) },
		func() { s.flip(v) }, func() { s.flip(v) },
		func() { s.storeGone(v, d) },
		func() { s.fill(v, d) },
		func() { s.deny(v, d) },
		func() { s.shrink(c, d) },
		func() { s.readdress(c) },
		func() { s.replay() }, func() { s.replay() },
		func() { s.noise() },
		func() { s.hint(c) },
	}
	kinds[w.rng.IntN(len(kinds))]()
}

func (s *script) crash(v *simServer, d time.Duration) {
	if v.dead {
		return
	}
	s.w.trace("%s crashes for %v", v.name, d)
	v.crash()
	s.fall(v)
	s.rise(v, d, func() {
		if v.dead {
			s.w.trace("%s restarts", v.name)
			v.restart()
		}
	})
}

func (s *script) freeze(v *simServer, d time.Duration) {
	if v.dead || v.frozen {
		return
	}
	s.w.trace("%s freezes for %v", v.name, d)
	v.freeze()
	s.fall(v)
	life := v.life
	s.rise(v, d, func() {
		if v.life == life && v.frozen {
			s.w.trace("%s thaws", v.name)
			v.thaw()
		}
	})
}

// stop stops the stream service as planned and starts it again later.
func (s *script) stop(v *simServer, d time.Duration) {
	if v.dead {
		return
	}
	s.w.trace("%s stops its stream service for %v", v.name, d)
	v.stop(d / 2)
	s.fall(v)
	s.rise(v, d, func() {
		v.do(func() {
			s.w.trace("%s starts its stream service", v.name)
			v.front.Start()
		})
	})
}

func (s *script) cut(node any, e *ends, name string, d time.Duration) {
	s.w.trace("%s is cut off for %v", name, d)
	e.cut = true
	s.fall(node)
	s.rise(node, d, func() { e.cut = false })
}

// slow makes reads of a store take seconds. The server is not to be left for it.
func (s *script) slow(v *simServer, d time.Duration) {
	most := time.Duration(s.w.logUniform(5, 3000) * 1e6)
	s.w.trace("the store of %s takes up to %v for %v", v.name, most, d)
	v.disk = func() time.Duration { return s.w.draw(most) }
	s.fall(v)
	s.rise(v, d+most, func() { v.disk = func() time.Duration { return 200 * time.Microsecond } })
}

func (s *script) freezeTarget(c *simClient, d time.Duration) {
	if c.frozen {
		return
	}
	s.w.trace("%s freezes for %v", c.name, d)
	c.frozen = true
	s.fall(c)
	s.rise(c, d, func() {
		if c.frozen {
			c.thaw()
		}
	})
}

// flip damages a part of a replica.
func (s *script) flip(v *simServer) {
	if v == s.good {
		return
	}
	im := s.w.image
	n := 1 + s.w.rng.IntN(len(im.levels[0]))
	s.w.trace("%d chunks of %s are damaged, and a page", n, v.name)
	for range n {
		v.damaged[object{0, s.w.rng.Int64N(int64(len(im.levels[0])))}] = true
	}
	v.damaged[object{1, s.w.rng.Int64N(int64(len(im.levels[1])))}] = true
}

func (s *script) storeGone(v *simServer, d time.Duration) {
	s.w.trace("the store of %s is gone for %v", v.name, d)
	v.gone = true
	s.fall(v)
	s.rise(v, d, func() { v.gone = false })
}

// fill makes a server refer new targets to another one.
func (s *script) fill(v *simServer, d time.Duration) {
	if len(s.w.servers) == 1 {
		return
	}
	s.w.trace("%s is full for %v", v.name, d)
	v.full = true
	s.fall(v)
	s.rise(v, d, func() { v.full = false })
}

func (s *script) deny(v *simServer, d time.Duration) {
	s.w.trace("%s denies everyone for %v", v.name, d)
	v.denies = wire.CodeDisabled
	s.fall(v)
	if v == s.good {
		s.spurned = later(s.spurned, s.w.now.Add(d+denyMax))
	}
	s.w.after(d, func() { v.denies = 0 })
	s.rise(v, d+denyMax, func() {}) // a target that was denied comes back later
}

// shrink lets datagrams that need more than the least path vanish.
func (s *script) shrink(c *simClient, d time.Duration) {
	s.w.trace("big datagrams to %s vanish for %v", c.name, d)
	c.e.most = basePacket
	s.fall(c)
	s.rise(c, d+time.Second, func() { c.e.most = 0 })
}

// readdress gives a target another address, as a router does that was restarted.
func (s *script) readdress(c *simClient) {
	s.drawn++
	a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 200, byte(s.drawn)}), 6901)
	s.w.trace("%s moves to %v", c.name, a)
	c.readdress(a)
}

// inject lets a datagram arrive with a source that may be forged.
func (s *script) inject(from, to netip.AddrPort, b []byte) {
	if n := s.w.byAddr[to]; n != nil {
		s.w.deliver(from, n, b, s.w.now.Add(s.w.draw(20*time.Millisecond)), 0, 0)
	}
}

// replay sends recordings again, from where they came or from elsewhere.
func (s *script) replay() {
	if len(s.history) == 0 {
		return
	}
	s.w.trace("recordings are replayed")
	for range 40 {
		r := s.history[s.w.rng.IntN(len(s.history))]
		from := r.from
		if s.w.rng.IntN(2) == 0 {
			from = s.anyAddr()
		}
		s.inject(from, r.to, append([]byte(nil), r.b...))
	}
}

// anyAddr is an address of a node, or of nobody.
func (s *script) anyAddr() netip.AddrPort {
	switch s.w.rng.IntN(3) {
	case 0:
		return s.w.servers[s.w.rng.IntN(len(s.w.servers))].e.addr
	case 1:
		return s.w.clients[s.w.rng.IntN(len(s.w.clients))].e.addr
	}
	return s.strange[s.w.rng.IntN(len(s.strange))]
}

// noise sends random datagrams, and recordings with a few bits changed.
func (s *script) noise() {
	s.w.trace("noise")
	for range 60 {
		b := randomBytes(s.w.rng, s.w.rng.IntN(1500))
		if len(s.history) > 0 && s.w.rng.IntN(2) == 0 {
			b = append([]byte(nil), s.history[s.w.rng.IntN(len(s.history))].b...)
			for range 1 + s.w.rng.IntN(4) {
				b[s.w.rng.IntN(len(b))] ^= 1 << s.w.rng.IntN(8)
			}
		} else if len(b) >= wire.PrefixSize {
			copy(b, []byte{byte(1 + s.w.rng.IntN(8)), 'S', 'p', wire.Version})
		}
		s.inject(s.anyAddr(), s.anyAddr(), b)
	}
}

// hint forges what a server might say without a seal.
func (s *script) hint(c *simClient) {
	p := c.c.current
	if p == nil || p.sealer == nil {
		return
	}
	s.w.trace("hints are forged to %s", c.name)
	for range 20 {
		h := wire.Hint{
			Receiver: p.peer, Hint: wire.HintCode(1 + s.w.rng.IntN(4)), MinVersion: 1, MaxVersion: 1,
			Counter: s.w.rng.Uint64N(p.sealer.Counter() + 1),
		}
		if s.w.rng.IntN(2) == 0 {
			h.Receiver = p.index
		}
		b := h.Append(nil)
		binary.LittleEndian.PutUint64(b[len(b)-8:], h.Counter)
		s.inject(p.server.addr, c.e.addr, b)
	}
}
