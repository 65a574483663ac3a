package engine

import "github.com/spate-project/spate/stream/wire"

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

func (c *Client) sendPacket(p *path, k packet) {
	if len(k.buf) <= wire.SealedSize || p.sealer == nil || p.sealer.Spent() {
		return
	}
	if pad := leastSealed - wire.TagSize - len(k.buf); pad > 0 {
		k.buf = wire.AppendPad(k.buf, pad)
	}
	c.out.send(p.server.addr, p.sealer.Seal(k.buf, p.peer))
}

func (c *Client) sendFrame(p *path, f wire.Frame) {
	k := c.newPacket()
	k.buf = f.Append(k.buf)
	c.sendPacket(p, k)
}

func (c *Client) ping(now Instant, p *path) {
	p.expect(now)
	c.sendFrame(p, p.ping(now))
}

// flush asks for as much as the windows allow.
func (c *Client) flush(now Instant) {
	if p := c.current; p != nil && !p.suspect {
		c.fill(now, p, &c.demand, &c.ahead)
	}
	for _, p := range c.paths {
		if p.aux && p.state == pathOpen && p.repair.front() != nil {
			c.fill(now, p, &p.repair, &c.none)
		}
	}
}

// fill sends requests on a path, demand first, many in one datagram.
func (c *Client) fill(now Instant, p *path, demand, ahead *fetchQueue) {
	var k packet
	for {
		q := demand
		if q.front() == nil {
			q = ahead
		}
		f := q.front()
		if f == nil {
			break
		}
		switch {
		case !f.wants(): // what was due has come after all
			q.remove(f)
			continue
		case f.only == nil && f.avoids(p.server):
			q.remove(f)
			c.place(f)
			continue
		}
		r := c.request(now, p, f)
		if r.N == 0 {
			p.win.limited = true
			break
		}
		if k.buf == nil || k.room() < wire.MaxRead {
			c.sendPacket(p, k)
			k = c.newPacket()
		}
		k.buf = c.shorten(f, r).Append(k.buf)
		if !f.wants() {
			q.remove(f)
		}
	}
	c.sendPacket(p, k)
}

// room is how many bytes more may be asked for on a path. What comes on others
// arrives in the same socket; what is pending may come as well, all at once.
func (c *Client) room(p *path) int {
	busy, all := 0, 0
	for _, q := range c.paths {
		busy += q.outstanding - q.pending
		all += q.outstanding
	}
	room := min(c.most-busy, 2*c.most-all)
	if p.outstanding == 0 {
		room = max(room, 2*leastPiece) // something is always under way, on each
	}
	return min(p.room(), room)
}

// request takes what a fetch misses and the window allows, and marks it as sent
// on p. Without ranges there is nothing to send now.
func (c *Client) request(now Instant, p *path, f *Fetch) wire.Read {
	if f.alone && f.source != p.server {
		f.reset()
		f.source = p.server
	}
	r := wire.Read{ID: f.id, Level: f.Level, Priority: f.priority(), Count: uint16(f.Count), First: uint64(f.First)}
	if p.asks == 0 {
		p.tick = now.Add(tickShort)
	}
	piece := p.win.piece()
	for int(r.N) < wire.MaxRanges {
		from, to, ok := f.next(now, p, piece, c.room(p))
		if !ok {
			break
		}
		r.Ranges[r.N] = wire.Range{From: uint32(from), To: uint32(to)}
		r.N++
	}
	if r.N > 0 {
		p.used = now
		p.expect(now)
	}
	return r
}

// shorten says everything with no range at all. It is what a server has in work
// already when it is asked for again: so not when a part of it told the length.
func (c *Client) shorten(f *Fetch, r wire.Read) wire.Read {
	if r.N == 1 && r.Ranges[0].From == 0 && int(r.Ranges[0].To) == f.limit && (!f.settled || f.Expect >= 0) {
		r.N = 0
	}
	return r
}

func (c *Client) sendStatus(now Instant, p *path) {
	p.statusAt = now.Add(statusEvery - c.spread(statusEvery/10))
	if !p.offered {
		p.statusAt = now.Add(statusSoon)
	}
	p.statusSeq++
	p.statusDue = true
	p.expect(now)
	st := c.wireStatus(now, p)
	st.Seq = p.statusSeq
	c.sendFrame(p, st)
}

// leave says good-bye and keeps the path for what is still under way.
func (c *Client) leave(now Instant, p *path, why wire.LeaveReason) {
	p.state, p.left, p.sends = pathLeft, why, 0
	p.closes = now.Add(lingerLeft)
	c.sayLeave(now, p)
	c.reroute(p)
}

// sayLeave says it until the server answers with closed: one that does not hear
// it, because the way to it is cut, believes that it still has the target and
// waits for it when it is to stop. A server that says that it does not know the
// session has heard it too; see [Client.hintUnknown].
func (c *Client) sayLeave(now Instant, p *path) {
	c.sendFrame(p, wire.Leave{Reason: p.left, PauseUS: p.pauseUS})
	p.again = now.Add(min(leaveAgain<<min(p.sends, 8), leaveMost))
	if c.closed {
		p.again = now.Add(leaveAgain) // there is little time
	}
	p.sends++
}

// heardLeave: the server knows that the path is over.
func (p *path) heardLeave(now Instant) {
	p.again = Never
	p.closes = earlier(p.closes, now.Add(lingerOld))
}
