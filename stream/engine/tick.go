package engine

import "github.com/spate-project/spate/stream/wire"

// tickPath does what is due on an open path. What is looked at here stands in
// pathDeadline too.
func (c *Client) tickPath(now Instant, p *path) {
	if p != c.current && c.tickSide(now, p) {
		return
	}
	if now >= p.statusAt {
		c.sendStatus(now, p)
	}
	if p.asks > 0 && now >= p.tick {
		p.tick = now.Add(max(tickShort, min(tickLong, p.rtt.resend()/4)))
		c.scanAsks(now, p)
	}
	if p.due == Never && p.pending > 0 && now >= p.heard.Add(pendingPoll) {
		c.ping(now, p)
	}
	if p.due != Never && now >= p.nextProbe {
		c.probe(now, p)
	}
	if now >= p.silentAt() {
		c.suspected(now, p)
	}
	if now >= p.hintedAt() {
		p.hinted = Never
		c.probeRestart(now, p)
	}
	if !p.spent && (p.sealer.Counter() >= keyDatagrams || p.counter >= keyDatagrams) {
		p.spent, p.life = true, now
	}
}

// tickSide looks after a path that does not serve: one that was replaced and
// still brings what was asked of it, or one for repair. It tells whether the
// path has ended.
func (c *Client) tickSide(now Instant, p *path) bool {
	switch {
	case p.aux && p.suspect:
		p.server.fail(now)
		c.leave(now, p, wire.LeaveDetached)
	case now < c.sideDeadline(p):
		return false
	case p.aux:
		c.leave(now, p, wire.LeaveDetached)
	default:
		c.leave(now, p, wire.LeaveMoved)
	}
	return true
}

// sideDeadline is when a path that does not serve ends.
func (c *Client) sideDeadline(p *path) Instant {
	switch {
	case p.aux && p.asks > 0:
		return p.life
	case p.aux:
		return earlier(p.life, p.used.Add(auxIdle))
	case p.asks > 0 && !p.suspect:
		return p.leaveAt
	}
	return 0 // nothing to wait for
}

// pathDeadline is when a path needs a tick.
func (c *Client) pathDeadline(p *path) Instant {
	switch p.state {
	case pathHello, pathResuming:
		return p.again
	case pathLeft:
		return earlier(p.closes, p.again)
	}
	d := earlier(p.statusAt, earlier(p.silentAt(), p.hintedAt()))
	if p.asks > 0 {
		d = earlier(d, p.tick)
	}
	switch {
	case p != c.current:
		d = earlier(d, c.sideDeadline(p))
	case c.lostAt == Never && !c.move.active:
		d = earlier(d, p.life)
	}
	if p.due != Never {
		d = earlier(d, p.nextProbe)
	} else if p.pending > 0 {
		d = earlier(d, p.heard.Add(pendingPoll))
	}
	return d
}

// probe asks a silent server for a sign of life, with the oldest thing that is
// due, and again after a while.
func (c *Client) probe(now Instant, p *path) {
	p.probing(now)
	k := c.newPacket()
	k.buf = p.ping(now).Append(k.buf)
	p.win.collapse()
	if f := c.oldest(p); f != nil {
		for i := range f.asks {
			if a := &f.asks[i]; a.path == p && a.state == askWaiting {
				c.darkened(now, p, a)
				a.again()
			}
		}
		if r := c.request(now, p, f); r.N > 0 {
			k.buf = c.shorten(f, r).Append(k.buf)
		}
		c.enqueue(f)
		c.stats.Lost++
	}
	c.sendPacket(p, k)
	if p.probes >= leastProbes {
		c.sendFrame(p, p.ping(now)) // what may decide does not hang on one datagram
	}
}

// oldest is the fetch on p that waits longest without having been promised.
func (c *Client) oldest(p *path) (oldest *Fetch) {
	var at Instant
	for _, f := range c.fetches {
		if f == nil {
			continue
		}
		for i := range f.asks {
			if a := &f.asks[i]; a.path == p && a.state == askWaiting && (oldest == nil || a.at < at) {
				oldest, at = f, a.at
			}
		}
	}
	return oldest
}

// scanAsks finds asks whose answer must have been lost.
func (c *Client) scanAsks(now Instant, p *path) {
	for _, f := range c.fetches {
		if f == nil {
			continue
		}
		due := false
		for i := range f.asks {
			a := &f.asks[i]
			if a.path != p || !c.overdue(now, p, f, a) {
				continue
			}
			if a.state != askPending {
				c.stats.Lost++
				p.win.miss(min(a.size(), leastPayload))
				c.darkened(now, p, a)
			}
			a.again()
			due = true
		}
		if due {
			c.enqueue(f)
		}
	}
}

// overdue tells whether an ask is to be sent again. Either an ask that was sent
// later has been answered, and the server's promise to answer each within a few
// milliseconds says that this one or its answer did not arrive; or the path has
// been quiet for the resend time, though not silent, which [Client.probe]
// handles; or what was pending has been so for long.
func (c *Client) overdue(now Instant, p *path, f *Fetch, a *ask) bool {
	quiet := now.Sub(later(a.at, p.lastData))
	stretch := a.tries - 1
	switch a.state {
	case askWaiting:
		passed := !a.told && a.sent < p.answered[f.priority()]
		return passed && now.Sub(a.sent) > p.rtt.patience()<<stretch || quiet > p.rtt.resend()<<stretch
	case askGap:
		return quiet > p.rtt.patience()
	case askPending:
		return now.Sub(a.at) > pendingAgain<<min(stretch, 4)
	}
	return false
}

// darkened: an answer does not come although the server has been heard since it
// was asked. When that happens again and again and nothing large comes at all,
// big datagrams vanish on the way, and the server is told to use small ones.
func (c *Client) darkened(now Instant, p *path, a *ask) {
	if p.largest <= requestDatagram || a.size() < requestDatagram || p.heard <= a.sent || p.large >= a.sent || now < p.darker {
		return
	}
	p.darker = now.Add(p.rtt.resend())
	if p.dark++; p.dark == darkLimit {
		p.dark, p.largest = 0, requestDatagram
		c.stats.Shrunk++
		c.sendFrame(p, wire.Size{Largest: requestDatagram})
	}
}
