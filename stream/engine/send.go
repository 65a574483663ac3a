package engine

import (
	"github.com/spate-project/spate/stream/wire"
)

// requestDatagram is the longest datagram that a client sends in a session.
// It passes every path, so that requests need no search for a packet size.
const requestDatagram = 1200

// packet builds one sealed datagram in the output's arena.
type packet struct{ buf []byte }

func (c *Client) newPacket() packet {
	b := c.out.room(requestDatagram)
	return packet{b[:wire.SealedSize]}
}

func (k *packet) room() int { return requestDatagram - wire.TagSize - len(k.buf) }

func (k *packet) empty() bool { return len(k.buf) == wire.SealedSize }

func (c *Client) sendPacket(p *path, k packet) {
	if k.empty() || p.sealer == nil {
		return
	}
	c.out.send(p.server.addr, p.sealer.Seal(k.buf, p.peer))
}

func (c *Client) sendFrame(p *path, f wire.Frame) {
	k := c.newPacket()
	k.buf = f.Append(k.buf)
	c.sendPacket(p, k)
}

func (c *Client) ping(now Instant, p *path) {
	p.pings++
	p.pingDue = true
	p.expect(now)
	c.sendFrame(p, wire.Ping{Token: p.pings})
}

// flush asks for as much as the windows allow.
func (c *Client) flush(now Instant) {
	if p := c.current; p != nil && !p.suspect {
		c.fill(now, p, &c.demand, &c.ahead)
	}
	for _, p := range c.paths {
		if p.aux && p.state == pathOpen && !p.repair.empty() {
			c.fill(now, p, &p.repair, &c.none)
		}
	}
}

// fill sends requests on a path, demand first, many in one datagram.
func (c *Client) fill(now Instant, p *path, demand, ahead *fetchQueue) {
	var k packet
	for {
		q := demand
		if q.empty() {
			q = ahead
		}
		if q.empty() {
			break
		}
		if p.room() <= 0 && p.outstanding > 0 {
			p.win.limited = true
			break
		}
		if k.buf == nil || k.room() < wire.MaxRead {
			if k.buf != nil {
				c.sendPacket(p, k)
			}
			k = c.newPacket()
		}
		f := q.front()
		k.buf = c.ask(now, p, f, k.buf)
		if !f.wants() {
			q.pop()
			f.queued = false
		}
	}
	if k.buf != nil {
		c.sendPacket(p, k)
	}
}

// ask appends one request for what a fetch misses, within the window, and
// marks it as sent on p.
func (c *Client) ask(now Instant, p *path, f *Fetch, dst []byte) []byte {
	if f.route == nil {
		f.route = p
	}
	before := f.weigh()
	r := wire.Read{ID: f.id, Level: f.Level, Priority: f.priority(), Count: uint16(f.Count), First: uint64(f.First)}
	left := p.room()
	for int(r.N) < wire.MaxRanges && (left > 0 || r.N == 0) {
		from, to, ok := f.next(now, left)
		if !ok {
			break
		}
		r.Ranges[r.N] = wire.Range{From: uint32(from), To: uint32(to)}
		r.N++
		left -= to - from
	}
	if r.N == 1 && r.Ranges[0].From == 0 && int(r.Ranges[0].To) == f.limit {
		r.N = 0 // everything
	}
	p.reweigh(before, f.weigh())
	p.expect(now)
	p.used = now
	return r.Append(dst)
}

// place decides which path a fetch is asked on and puts it in line.
func (c *Client) place(now Instant, f *Fetch) {
	if len(f.avoid) == 0 {
		c.enqueue(f)
		return
	}
	if p := c.current; p != nil && !f.avoids(p.server.id) {
		c.enqueue(f)
		return
	}
	for _, p := range c.paths {
		if p.aux && p.state == pathOpen && !f.avoids(p.server.id) {
			f.route, f.queued = p, true
			p.repair.push(f)
			return
		}
	}
	f.deferred = true
	c.deferred = append(c.deferred, f)
}

// enqueue puts a fetch in line on its path, or on the serving one.
func (c *Client) enqueue(f *Fetch) {
	if f.queued || f.deferred {
		return
	}
	f.queued = true
	switch {
	case f.route != nil && f.route.aux:
		f.route.repair.push(f)
	case f.Demand:
		c.demand.push(f)
	default:
		c.ahead.push(f)
	}
}

func (c *Client) unqueue(f *Fetch) {
	if f.deferred {
		f.deferred = false
		for i, d := range c.deferred {
			if d == f {
				c.deferred = append(c.deferred[:i], c.deferred[i+1:]...)
				break
			}
		}
	}
	if !f.queued {
		return
	}
	f.queued = false
	c.demand.remove(f)
	c.ahead.remove(f)
	for _, p := range c.paths {
		if p.aux {
			p.repair.remove(f)
		}
	}
}

// unroute takes a fetch off its path.
func (c *Client) unroute(f *Fetch) {
	p := f.route
	if p == nil {
		return
	}
	p.reweigh(f.weigh(), weight{})
	if f.listed {
		f.listed = false
		for i, g := range p.gaps {
			if g == f {
				p.gaps = append(p.gaps[:i], p.gaps[i+1:]...)
				break
			}
		}
	}
	f.route = nil
}

// reroute takes everything off a path that will not answer any more and puts
// it in line for the next one.
func (c *Client) reroute(now Instant, p *path) {
	for _, f := range c.fetches {
		if f == nil || f.route != p {
			continue
		}
		c.unroute(f)
		c.unqueue(f)
		f.again()
		c.place(now, f)
	}
}

// tickPath does what is due on an open path.
func (c *Client) tickPath(now Instant, p *path) {
	if p.state == pathLeft {
		return
	}
	if p != c.current && c.tickSide(now, p) {
		return
	}
	if now >= p.statusAt {
		c.sendStatus(now, p)
	}
	if p.outstanding > 0 && now >= p.tick {
		p.tick = now.Add(max(tickShort, min(tickLong, p.rtt.resend()/4)))
		c.scanAsks(now, p)
	}
	if p.due == Never && p.pending > 0 && now.Sub(p.heard) >= pendingPoll {
		c.ping(now, p)
	}
	if p.due != Never && now >= p.nextProbe {
		c.probe(now, p)
	}
	if p.due != Never && p.probes >= 2 && now.Sub(p.due) >= silence && !p.suspect {
		c.suspected(now, p)
	}
	if p.sealer.Counter() >= keyDatagrams || p.counter >= keyDatagrams {
		p.life = now
	}
}

// tickSide looks after a path that does not serve: one that was replaced and
// still brings what was asked of it, or one for repair. It tells whether the
// path has ended.
func (c *Client) tickSide(now Instant, p *path) bool {
	switch {
	case p.aux && (p.suspect || now.Sub(p.used) > auxIdle && p.outstanding == 0 || now >= p.life):
		if p.suspect {
			p.server.fail(now)
		}
		c.leave(now, p, wire.LeaveDetached)
		c.reroute(now, p)
		return true
	case !p.aux && (p.outstanding == 0 || now >= p.leaveAt || p.suspect):
		c.leave(now, p, wire.LeaveMoved)
		c.reroute(now, p)
		return true
	}
	return false
}

// leave says good-bye and keeps the path for what is still under way.
func (c *Client) leave(now Instant, p *path, why wire.LeaveReason) {
	c.sendFrame(p, wire.Leave{Reason: why, PauseUS: p.pauseUS})
	p.state = pathLeft
	p.due = Never
	p.closes = now.Add(lingerOld)
}

func (c *Client) sendStatus(now Instant, p *path) {
	p.statusAt = now.Add(statusEvery - c.spread(statusEvery/10))
	p.statusSeq++
	p.statusDue = true
	p.expect(now)
	st := c.wireStatus(p)
	st.Seq = p.statusSeq
	c.sendFrame(p, st)
}

// probe asks a silent server for a sign of life, with the oldest thing that is
// due, and again after twice the time.
func (c *Client) probe(now Instant, p *path) {
	p.probes++
	p.nextProbe = now.Add(p.rtt.resend() << min(max(p.probes-2, 0), 5))
	k := c.newPacket()
	p.pings++
	p.pingDue = true
	k.buf = wire.Ping{Token: p.pings}.Append(k.buf)
	if f := c.oldest(p); f != nil {
		before := f.weigh()
		for i := range f.asks {
			if f.asks[i].state == askWaiting {
				f.asks[i].state = askDue
			}
		}
		p.reweigh(before, f.weigh())
		k.buf = c.ask(now, p, f, k.buf)
		c.stats.Lost++
	}
	c.sendPacket(p, k)
	p.win.collapse()
}

// oldest is the fetch on p that waits longest without having been promised.
func (c *Client) oldest(p *path) (oldest *Fetch) {
	var at Instant
	for _, f := range c.fetches {
		if f == nil || f.route != p {
			continue
		}
		for i := range f.asks {
			if a := &f.asks[i]; a.state == askWaiting && (oldest == nil || a.at < at) {
				oldest, at = f, a.at
			}
		}
	}
	return oldest
}

// scanAsks finds asks whose answer must have been lost. Either an ask that was
// sent later has been answered, and the server's promise to answer each within
// a few milliseconds says that this one or its answer did not arrive; or the
// path as a whole has been quiet for the resend time, which [Client.probe]
// handles; or what was pending has been so for long.
func (c *Client) scanAsks(now Instant, p *path) {
	patience := p.rtt.smoothed + 4*p.rtt.variation + promise + time1ms
	for _, f := range c.fetches {
		if f == nil || f.route != p {
			continue
		}
		before := f.weigh()
		due := 0
		for i := range f.asks {
			a := &f.asks[i]
			quiet := now.Sub(later(a.at, p.lastData))
			switch a.state {
			case askWaiting:
				overtaken := a.sent < p.answered[f.priority()] && a.at == a.sent
				if overtaken && now.Sub(a.sent) > patience<<min(a.tries-1, 5) || quiet > p.rtt.resend()<<min(a.tries-1, 5) {
					p.win.lost(min(a.to-a.from, leastPiece))
					a.state = askDue
					due++
				}
			case askGap:
				if quiet > patience {
					a.state = askDue
					due++
				}
			case askPending:
				if now.Sub(a.at) > pendingAgain {
					a.state = askDue
					due++
				}
			}
		}
		if due > 0 {
			f.countSuspects()
			c.stats.Lost += uint32(due)
			p.reweigh(before, f.weigh())
			c.enqueue(f)
			c.darkened(p)
		}
	}
}

// darkened: answers do not come although the server is heard. When that goes
// on, big datagrams may vanish on the way, and the server is told to use small
// ones.
func (c *Client) darkened(p *path) {
	if p.dark++; p.dark == darkLimit && p.largest > requestDatagram {
		p.largest = requestDatagram
		c.stats.Shrunk++
		c.sendFrame(p, wire.Size{Largest: requestDatagram})
	}
}

// pathDeadline is when a path needs a tick.
func (c *Client) pathDeadline(p *path) Instant {
	switch p.state {
	case pathHello, pathResuming:
		return p.again
	case pathLeft:
		return p.closes
	}
	d := earlier(p.statusAt, p.life)
	if p.outstanding > 0 {
		d = earlier(d, p.tick)
	}
	if p != c.current {
		d = earlier(d, later(p.leaveAt, p.used.Add(auxIdle)))
		if !p.aux {
			d = earlier(d, p.leaveAt)
		}
	}
	if p.due != Never {
		d = earlier(d, p.nextProbe)
		if !p.suspect && p.probes >= 2 {
			d = earlier(d, p.due.Add(silence))
		}
	} else if p.pending > 0 {
		d = earlier(d, p.heard.Add(pendingPoll))
	}
	return d
}
