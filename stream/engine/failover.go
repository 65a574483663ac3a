package engine

import (
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// ServerID is the lasting identity of a server.
type ServerID = [wire.ServerIDSize]byte

// lose notes that no server serves from now on.
func (c *Client) lose(now Instant) {
	if c.lostAt != Never {
		return
	}
	c.lostAt = now
	c.notice = now.Add(noticeFirst)
	c.nextTry = now
	c.retryDelay = retryAllMin
}

// suspected: a server has been silent for too long. It is listened to until
// another one has answered.
func (c *Client) suspected(now Instant, p *path) {
	p.suspect = true
	if p == c.current {
		p.server.fail(now)
		c.why = ReasonSilent
		c.move.active = false
		c.lose(now)
	}
}

// revived: the serving server was suspected and is heard again before another
// one took over.
func (c *Client) revived(p *path) {
	p.server.works()
	c.lostAt, c.notice = Never, Never
	c.endAttempts()
}

// probeRestart: the serving server may have been restarted, since a hint says
// so and nothing else was heard. A ticket flight to it finds out. Where this
// target itself was not heard for as long as a server keeps a session, because
// it stood still or was cut off, that is the reason.
func (c *Client) probeRestart(now Instant, p *path) {
	if p != c.current || now.Sub(c.restarted) < restartAgain && c.restarted != 0 || c.attemptTo(p.server) != nil {
		return
	}
	c.restarted = now
	why := ReasonRestarted
	if now >= p.expires() {
		why = ReasonExpired
	}
	c.attempt(now, p.server, why, 0, c.ticketFor(now, p.server, why))
}

// drive works toward being served by a live server. What is looked at here
// stands in driveDeadline too.
func (c *Client) drive(now Instant) {
	c.driveAttempts(now)
	p := c.current
	switch {
	case c.lostAt != Never:
		c.seek(now)
	case p == nil: // not started
	case c.move.active:
		c.seekPlanned(now)
	case now >= p.life:
		p.life = now.Add(renewalAgain)
		if c.attemptTo(p.server) == nil {
			c.attempt(now, p.server, ReasonRenewal, 0, false)
		}
	}
	c.driveRepairs(now)
	c.driveNotices(now)
}

func (c *Client) driveDeadline() Instant {
	d := Never
	if c.lostAt != Never {
		d = earlier(c.nextTry, c.notice)
		if c.cfg.FailAfter > 0 && c.inWork > 0 {
			d = earlier(d, c.lostAt.Add(c.cfg.FailAfter))
		}
	} else if c.move.active {
		d = earlier(later(c.move.at, c.nextTry), c.move.ends)
	}
	if len(c.deferred) > 0 {
		d = earlier(d, c.repairAt)
	}
	if c.pauseNow.active {
		d = earlier(d, c.pauseNow.from.Add(pauseSettles))
	}
	return d
}

func (c *Client) currentServer() *server {
	if c.current == nil {
		return nil
	}
	return c.current.server
}

// seek asks one more server, when it is time and not too many are asked.
func (c *Client) seek(now Instant) {
	if now < c.nextTry {
		return
	}
	s := c.candidate(now)
	if s == nil || c.attempts() >= attemptsMax {
		c.nextTry = now.Add(c.retryDelay)
		c.retryDelay = min(2*c.retryDelay, retryAllMax)
		for _, s := range c.servers {
			if s.notBefore > now {
				c.nextTry = earlier(c.nextTry, s.notBefore)
			}
		}
		return
	}
	stagger := helloStagger
	if c.serving {
		stagger = silence
	}
	c.nextTry = now.Add(stagger)
	c.attempt(now, s, c.why, 0, c.ticketFor(now, s, c.why))
}

// attempts is how many servers are being asked to serve us.
func (c *Client) attempts() int { return c.countAttempts(false) }

// countAttempts counts attempts for repair, or all others.
func (c *Client) countAttempts(repair bool) (n int) {
	for _, p := range c.paths {
		if p.attempting() && (p.why == ReasonRepair) == repair {
			n++
		}
	}
	return n
}

// candidate is the best server to ask next: the highest ranked one that is not
// set aside; else, when there is none such, the one that was not asked for
// longest, be it the one that fell silent.
func (c *Client) candidate(now Instant) *server {
	var best, offered, stale *server
	for _, s := range c.servers {
		switch {
		case c.attemptTo(s) != nil:
		case s.notBefore <= now && s != c.currentServer():
			if best == nil || !best.hopeful() && s.hopeful() {
				best = s
			}
		case s.state == wire.StateServing && s != c.currentServer() && now >= s.refused && now.Sub(s.tried) >= silence:
			// Set aside, but the farm counts on it: better than nobody.
			if offered == nil {
				offered = s
			}
		case now.Sub(s.tried) >= retryAllMax && (stale == nil || s.tried < stale.tried):
			stale = s
		}
	}
	switch {
	case best != nil:
		return best
	case offered != nil:
		return offered
	}
	return stale
}

// hopeful tells that nobody has said that the server would not serve us.
func (s *server) hopeful() bool { return s.state == 0 || s.state == wire.StateServing }

// seekPlanned opens a session with the server that was proposed, or the best
// other one, while the old server goes on serving.
func (c *Client) seekPlanned(now Instant) {
	if now >= c.move.ends {
		c.stay()
		return
	}
	if now < c.move.at || now < c.nextTry {
		return
	}
	c.nextTry = now.Add(plannedAgain)
	if c.attempts() >= attemptsMax {
		return
	}
	var best *server
	for _, s := range c.servers {
		if s == c.current.server || s.notBefore > now || c.attemptTo(s) != nil || c.move.only && s.name != c.move.to {
			continue
		}
		if best == nil || s.name != "" && s.name == c.move.to || !best.hopeful() && s.hopeful() && best.name != c.move.to {
			best = s
		}
	}
	if best != nil {
		c.attempt(now, best, c.move.why, 0, c.ticketFor(now, best, c.move.why))
	}
}

// stay gives up a planned change of server.
func (c *Client) stay() {
	c.move.active = false
	c.endAttempts()
}

// opened: a session has come about.
func (c *Client) opened(now Instant, p *path) {
	p.state, p.heard, p.born, p.used = pathOpen, now, now, now
	p.hinted = Never
	p.statusAt = now.Add(statusSoon) // unless the alternates come unasked
	p.handshake, p.flight = nil, nil
	p.server.works()
	p.server.note = ""
	if p.why == ReasonRepair {
		p.aux = true
		c.replaceDeferred()
		return
	}
	c.adopt(now, p)
}

// adopt makes p the serving path.
func (c *Client) adopt(now Instant, p *path) {
	old, from := c.current, c.lastServer
	if old != nil {
		from = old.server
		if from == p.server {
			p.inherit(old)
		}
	}
	c.current, c.lastServer = p, p.server
	c.lostAt, c.notice = Never, Never
	c.move.active = false
	c.endAttempts()
	for _, s := range c.servers {
		if s.referrer {
			s.referrer, s.notBefore = false, 0
		}
	}
	first := !c.serving || c.referral
	c.serving, c.referral = true, false
	if first {
		c.event(now, Event{Kind: EventServing, To: p.server.label(), Addr: p.server.addr, Reason: p.why, Disk: c.disk})
	} else if from != p.server || p.why != ReasonRenewal {
		c.beginMove(now, p, old, from)
	}
	if old != nil {
		c.replace(now, old, p)
	}
	c.takeFlight(now, p)
	c.replaceDeferred()
}

// replace retires the path that served until now. A live one is left when what
// was asked of it has come, a silent one at once; both are still listened to.
func (c *Client) replace(now Instant, old, p *path) {
	if p.why.planned() {
		old.leaveAt = now.Add(leaveWithin)
		return
	}
	c.leave(now, old, wire.LeaveMoved)
}

func (c *Client) beginMove(now Instant, p, old *path, from *server) {
	c.stats.Failovers++
	e := Event{Kind: EventMoved, To: p.server.label(), Addr: p.server.addr, Reason: p.why, At: now}
	if from != nil {
		e.From = from.label()
	}
	c.pauseNow = pauseWatch{active: true, event: e, from: now, old: old}
	if c.demands == 0 {
		c.tellMove(0)
	}
}

// tellMove announces a move with the pause that it cost.
func (c *Client) tellMove(pause time.Duration) {
	c.pauseNow.active = false
	e := c.pauseNow.event
	e.Pause = max(pause, 0)
	c.out.Events = append(c.out.Events, e)
	if p := c.pauseNow.old; p != nil {
		p.pauseUS = uint32(min(e.Pause.Microseconds(), 1<<31))
		c.pauseNow.old = nil
	}
}
