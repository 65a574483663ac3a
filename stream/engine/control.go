package engine

import (
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// control handles the frames that are not about reads.
func (c *Client) control(now Instant, p *path, t wire.FrameType, body []byte, size int) {
	switch t {
	case wire.FrameGoingAway:
		if f, err := wire.ParseGoingAway(body); err == nil {
			c.goingAway(now, p, f)
		}
	case wire.FrameAlternates:
		if f, err := wire.ParseAlternates(body); err == nil {
			c.learn(f)
			c.offeredFirst(now, p)
		}
	case wire.FrameTicket:
		if f, err := wire.ParseTicket(body); err == nil {
			c.takeTicket(now, f)
		}
	case wire.FrameStatusReply:
		p.statusDue = false
	case wire.FrameProbe:
		c.sendFrame(p, wire.Size{Largest: uint16(min(size, wire.MaxDatagram))})
	case wire.FramePathCheck:
		if f, err := wire.ParsePathCheck(body); err == nil {
			c.sendFrame(p, wire.PathAnswer(f))
		}
	case wire.FramePong:
		if f, err := wire.ParsePong(body); err == nil {
			p.pong(now, f.Token)
		}
	case wire.FrameClosed:
		if f, err := wire.ParseClosed(body); err == nil {
			c.closedByServer(now, p, f)
		}
	default:
		c.stats.Unknown++
	}
}

// goingAway: the server asks us to move, at our slot, and serves on until then.
func (c *Client) goingAway(now Instant, p *path, f wire.GoingAway) {
	if p.state == pathLeft {
		p.again = now // it has not heard our good-bye
		return
	}
	c.sendFrame(p, wire.GoingAwayAck{Number: f.Number})
	switch {
	case f.Reason == wire.AwayWithdrawn:
		c.withdrawn(p, f.Number-1)
		return
	case p.withdrawn == f.Number:
		return // overtaken by its own withdrawal
	case f.Reason != wire.AwayRebalance:
		p.server.note = f.Reason.String()
	}
	if p.aux {
		c.leave(now, p, wire.LeaveMoved)
		return
	}
	if p != c.current || c.move.active && c.move.number == f.Number {
		return
	}
	slot := min(time.Duration(f.SlotMS), time.Duration(f.DeadlineMS)/2) * time.Millisecond
	c.move = moving{active: true, why: ReasonGoingAway, number: f.Number, at: now.Add(slot), ends: Never, to: f.Proposed}
	switch f.Reason {
	case wire.AwayRebalance:
		c.move.why, c.move.only = ReasonRebalance, true
		c.move.ends = now.Add(time.Duration(f.DeadlineMS) * time.Millisecond)
	case wire.AwayStore:
		c.move.why = ReasonStoreGone
	}
}

// withdrawn: the server takes its request back, so we stay if we are still there.
func (c *Client) withdrawn(p *path, number uint32) {
	p.withdrawn = number
	p.server.note = ""
	if p == c.current && c.move.active && c.move.number == number {
		c.stay()
	}
}

// learn takes the ranked alternates.
func (c *Client) learn(f wire.Alternates) {
	for _, s := range c.servers {
		s.rank = s.home
	}
	for i, a := range f.List {
		if s := c.meet(a.ID, a.Name, a.Addr, i); s != nil {
			s.rank, s.state, s.load, s.sameZone = i, a.State, a.Load, a.SameZone
			if a.State == wire.StateServing {
				s.note = "" // what it said last is over
			}
		}
	}
	c.sortServers()
}

// offeredFirst: a server has named the alternates, which need not be asked for.
func (c *Client) offeredFirst(now Instant, p *path) {
	if !p.offered {
		p.offered = true
		p.statusAt = now.Add(c.spread(statusEvery))
	}
}

// closedByServer: the server has ended the session and says why.
func (c *Client) closedByServer(now Instant, p *path, f wire.Closed) {
	if p.state == pathLeft {
		p.heardLeave(now)
		return
	}
	p.server.note = f.Sentence
	p.state, p.again = pathLeft, Never // it needs no good-bye
	p.closes = now.Add(lingerOld)
	c.reroute(p)
	if p != c.current {
		return
	}
	if f.Code != wire.CodeIdle && f.Code != wire.CodeKeysExpired {
		p.server.refuses(now)
	}
	c.current, c.lastServer = nil, p.server
	c.why = ReasonClosed
	if f.Code == wire.CodeIdle {
		c.why = ReasonExpired
	}
	c.move.active = false
	c.lose(now)
	c.nextTry = now
}
