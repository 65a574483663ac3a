package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spate-project/spate/stream/secure"
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

// revived: a suspected server is heard again before another one took over.
func (c *Client) revived(now Instant, p *path) {
	if p != c.current {
		return
	}
	p.server.works()
	c.lostAt, c.notice = Never, Never
	for _, q := range c.paths {
		if q.attempting() && q.why != ReasonRepair {
			c.end(q)
		}
	}
}

// probeRestart: the serving server may have been restarted. A ticket flight to
// it finds out; if the hint was forged, nothing comes of it.
func (c *Client) probeRestart(now Instant, p *path) {
	if now.Sub(c.restartProbe) < time.Second && c.restartProbe != 0 || c.attemptTo(p.server) != nil {
		return
	}
	c.restartProbe = now
	c.attempt(now, p.server, ReasonRestarted)
}

func (p *path) attempting() bool { return p.state == pathHello || p.state == pathResuming }

func (c *Client) attemptTo(s *server) *path {
	for _, p := range c.paths {
		if p.server == s && p.attempting() {
			return p
		}
	}
	return nil
}

// drive works toward being served by a live server.
func (c *Client) drive(now Instant) {
	c.driveAttempts(now)
	p := c.current
	switch {
	case p == nil || p.suspect:
		c.seek(now)
	case c.move.active && now >= c.move.at:
		c.seekPlanned(now)
	case now >= p.life:
		p.life = now.Add(renewalAgain)
		if c.attemptTo(p.server) == nil {
			c.attempt(now, p.server, ReasonRenewal)
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
		d = later(c.move.at, c.nextTry)
	}
	if len(c.deferred) > 0 {
		d = earlier(d, c.repairAt)
	}
	if c.pauseNow.active {
		d = earlier(d, c.pauseNow.from.Add(pauseSettles))
	}
	return d
}

// driveAttempts sends first messages again and gives up on those that stay
// without an answer.
func (c *Client) driveAttempts(now Instant) {
	for _, p := range c.paths {
		switch {
		case !p.attempting() || now < p.again:
		case now.Sub(p.started) >= helloGiveUp:
			p.server.note = "no answer"
			if p.why != ReasonRepair || p.server != c.currentServer() {
				p.server.fail(now)
			}
			c.end(p)
		default:
			c.sendFirst(now, p)
		}
	}
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
	asked := 0
	for _, p := range c.paths {
		if p.attempting() && p.why != ReasonRepair {
			asked++
		}
	}
	s := c.candidate(now)
	if s == nil || asked >= attemptsMax {
		c.nextTry = now.Add(c.retryDelay)
		c.retryDelay = min(2*c.retryDelay, retryAllMax)
		return
	}
	stagger := helloStagger
	if c.serving {
		stagger = silence
	}
	c.nextTry = now.Add(stagger)
	c.attempt(now, s, c.why)
}

// candidate is the best server to ask next: the highest ranked one that is not
// set aside, else, when no server serves, the one that was not asked for longest.
func (c *Client) candidate(now Instant) *server {
	var stale *server
	for _, s := range c.servers {
		if c.attemptTo(s) != nil {
			continue
		}
		if s.notBefore <= now && s != c.currentServer() {
			return s
		}
		if now.Sub(s.tried) >= retryAllMax && (stale == nil || s.tried < stale.tried) {
			stale = s
		}
	}
	if c.lostAt != Never && now.Sub(c.lostAt) >= helloGiveUp/2 {
		return stale
	}
	return nil
}

// seekPlanned opens a session with the server that was proposed, or the best
// other one, while the old server goes on serving.
func (c *Client) seekPlanned(now Instant) {
	if now < c.nextTry {
		return
	}
	c.nextTry = now.Add(plannedAgain)
	var best *server
	for _, s := range c.servers {
		if s == c.current.server || s.notBefore > now || c.attemptTo(s) != nil {
			continue
		}
		if best == nil || s.named && s.name == c.move.to {
			best = s
		}
	}
	if best != nil {
		c.attempt(now, best, ReasonGoingAway)
	}
}

// attempt opens a session with a server: by ticket when there is one, else by
// a full handshake. Renewals are always full.
func (c *Client) attempt(now Instant, s *server, why Reason) {
	if len(c.paths) >= maxPaths && !c.dropOldest() {
		return
	}
	p := &path{
		server: s, why: why, index: c.newIndex(), started: now, due: Never, heard: now, tick: now,
		statusAt: now.Add(c.spread(statusEvery)), life: Never, win: newWindow(),
	}
	s.tried, s.asked = now, true
	var err error
	if c.serving && len(c.ticket.blob) > 0 && now < c.ticket.expires && !s.noTicket && why != ReasonRenewal {
		err = c.prepareFlight(now, p)
	} else {
		err = c.prepareHello(p)
	}
	if err != nil {
		c.event(now, Event{Kind: EventNote, Text: fmt.Sprintf("log in to %s: %v", s.label(), err)})
		s.fail(now)
		return
	}
	c.paths = append(c.paths, p)
	c.sendFirst(now, p)
}

// dropOldest forgets a path that was left, to make room.
func (c *Client) dropOldest() bool {
	for i, p := range c.paths {
		if p.state == pathLeft {
			c.paths = slices.Delete(c.paths, i, i+1)
			return true
		}
	}
	return false
}

func (c *Client) prepareHello(p *path) error {
	h, err := secure.NewInitiator(c.cfg.Random, c.cfg.Device, c.cfg.Farm, c.cfg.PSK)
	if err != nil {
		return err
	}
	login := c.cfg.Login
	if c.serving {
		login.Flags |= wire.LoginReconnect
		login.HasContent, login.Content = true, c.disk.Content
		login.VDisk, login.Number = c.disk.Name, c.disk.Number
	}
	for _, s := range c.servers {
		if s.named && s.penalty > 0 && len(login.Avoid) < wire.MaxAvoid && s != p.server {
			login.Avoid = append(login.Avoid, s.name)
		}
	}
	head := wire.Hello{
		Index: p.index, MinVersion: wire.MinProtocol, MaxVersion: wire.MaxProtocol, Cipher: c.cfg.Cipher,
		FarmKey: c.cfg.Farm.ID(),
	}
	_, err = h.Hello(nil, head, login.Append(nil))
	p.state, p.handshake = pathHello, h
	return err
}

// prepareFlight makes the one datagram that resumes with a ticket and asks at
// once for what is outstanding. What the old server goes on serving is left out.
func (c *Client) prepareFlight(now Instant, p *path) error {
	var frames []byte
	if p.why != ReasonGoingAway && p.why != ReasonRepair {
		frames = c.flightReads(now, p, frames, secure.FlightRoom(c.ticket.blob))
	}
	head := wire.Resume{Index: p.index, Cipher: c.cfg.Cipher}
	f, err := secure.NewFlight(c.cfg.Random, c.cfg.Farm, head, c.ticket.blob, c.ticket.secret, frames)
	p.state, p.flight = pathResuming, f
	return err
}

// flightReads appends requests for the demand reads that stand still. They
// stay with the old path until the new one has answered.
func (c *Client) flightReads(now Instant, p *path, frames []byte, room int) []byte {
	for _, f := range c.fetches {
		if f == nil || !f.Demand || len(f.avoid) > 0 || room-len(frames) < wire.MaxRead {
			continue
		}
		r := wire.Read{ID: f.id, Level: f.Level, Priority: f.priority(), Count: uint16(f.Count), First: uint64(f.First)}
		for i := range f.asks {
			r.Ranges[i] = wire.Range{From: uint32(f.asks[i].from), To: uint32(f.asks[i].to)}
			r.N++
		}
		if r.N == 0 {
			continue // not asked for yet: it goes by the window, after the move
		}
		if r.N == 1 && r.Ranges[0].From == 0 && int(r.Ranges[0].To) == f.limit {
			r.N = 0
		}
		frames = r.Append(frames)
		p.flightReads = append(p.flightReads, f.id)
	}
	return frames
}

// sendFirst sends a first message or flight, again byte for byte unless a
// cookie has come.
func (c *Client) sendFirst(now Instant, p *path) {
	first := helloAgain
	b := c.out.room(maxFirst)
	if p.state == pathHello {
		b = p.handshake.Again(b)
	} else {
		b = p.flight.Again(b)
		first = flightAgain
	}
	p.again = now.Add(min(first<<min(p.sends, 6), helloAgainMax))
	p.sends++
	c.out.send(p.server.addr, b)
}

// refused: a server will not serve us, or not by ticket.
func (c *Client) refused(now Instant, p *path, code wire.Code, sentence string) {
	s := p.server
	s.note = sentence
	byTicket := p.state == pathResuming
	why := p.why
	c.end(p)
	if byTicket && code != wire.CodeContentChanged {
		s.noTicket = true
		c.attempt(now, s, why)
		return
	}
	s.notBefore = now.Add(denyAgain)
	c.event(now, Event{Kind: EventDenied, From: s.label(), Addr: s.addr, Code: code, Text: sentence})
}

// referred: another server is to serve us, and a ticket opens its door.
func (c *Client) referred(now Instant, p *path, r wire.LoginReply) {
	why := p.why
	c.end(p)
	if !c.serving {
		c.disk = r.Disk
		c.serving = true // the ticket names this content, and only it
		c.referral = true
	} else if r.Disk.Content != c.disk.Content {
		c.event(now, Event{Kind: EventDenied, From: p.server.label(), Code: wire.CodeContentChanged, Text: wire.CodeContentChanged.Sentence()})
		return
	}
	c.keepTicket(now, r)
	for i, a := range r.Refer {
		s := c.serverFor(a.ID, a.Addr.String())
		if s == nil {
			if len(c.servers) >= maxServers || !a.Addr.IsValid() {
				continue
			}
			s = &server{addr: a.Addr, rank: formerRank + i}
			c.servers = append(c.servers, s)
		}
		s.id, s.name, s.named, s.addr = a.ID, a.Name, true, a.Addr
		if i == 0 && c.attemptTo(s) == nil {
			c.attempt(now, s, why)
		}
	}
	c.sortServers()
}

// end forgets an attempt.
func (c *Client) end(p *path) {
	if i := slices.Index(c.paths, p); i >= 0 {
		c.paths = slices.Delete(c.paths, i, i+1)
	}
}

// opened: a session has come about.
func (c *Client) opened(now Instant, p *path) {
	p.state, p.heard, p.born = pathOpen, now, now
	p.server.works()
	p.server.note = ""
	p.used = now
	if p.why == ReasonRepair {
		p.aux = true
		c.replaceDeferred(now)
		return
	}
	c.adopt(now, p)
}

// adopt makes p the serving path.
func (c *Client) adopt(now Instant, p *path) {
	old := c.current
	from := c.lastServer
	if old != nil {
		from = old.server
	}
	c.current, c.lastServer = p, p.server
	c.lostAt, c.notice = Never, Never
	c.move.active = false
	c.endAttempts(p)
	first := !c.serving || c.referral
	c.serving, c.referral = true, false
	if first {
		c.event(now, Event{Kind: EventServing, To: p.server.label(), Addr: p.server.addr, Reason: p.why, Disk: c.disk})
	} else if from != p.server || p.why != ReasonRenewal {
		c.beginMove(now, p, from)
	}
	if old != nil {
		c.replace(now, old, p)
	}
	c.takeFlight(now, p)
	c.replaceDeferred(now)
}

// endAttempts forgets what was still being tried when p has won.
func (c *Client) endAttempts(p *path) {
	for i := len(c.paths) - 1; i >= 0; i-- {
		if q := c.paths[i]; q != p && q.attempting() && q.why != ReasonRepair {
			c.end(q)
		}
	}
}

// replace retires the path that served until now. A live one is left when what
// was asked of it has come, a silent one at once; both are still listened to.
func (c *Client) replace(now Instant, old, p *path) {
	if p.why == ReasonGoingAway || p.why == ReasonRenewal {
		old.leaveAt = now.Add(leaveWithin)
		return
	}
	c.leave(now, old, wire.LeaveMoved)
	c.reroute(now, old)
}

// takeFlight notes that what the flight asked for is under way on its path.
func (c *Client) takeFlight(now Instant, p *path) {
	for _, id := range p.flightReads {
		f := c.byID(id)
		if f == nil || f.route != nil {
			continue
		}
		c.unqueue(f)
		f.route = p
		for i := range f.asks {
			a := &f.asks[i]
			a.state, a.sent, a.at, a.newer, a.counter = askWaiting, p.started, now, 0, 0
			a.tries = 2 // the round trip of a flight is no sample
		}
		p.reweigh(weight{}, f.weigh())
		if f.wants() {
			c.enqueue(f)
		}
	}
	p.flightReads = nil
	p.settleDue(now)
}

// replaceDeferred looks again for a path for the fetches that wait for one.
func (c *Client) replaceDeferred(now Instant) {
	waiting := append([]*Fetch(nil), c.deferred...)
	for _, f := range waiting {
		c.unqueue(f)
		c.place(now, f)
	}
}

// driveRepairs finds servers for reads that the serving server cannot answer.
func (c *Client) driveRepairs(now Instant) {
	if len(c.deferred) == 0 {
		return
	}
	c.repairAt = now.Add(repairAgain)
	for _, f := range append([]*Fetch(nil), c.deferred...) {
		hope := false
		for _, s := range c.servers {
			switch {
			case s.named && f.avoids(s.id):
			case c.attemptTo(s) != nil:
				hope = true
			case s.tried < f.started || now.Sub(s.tried) > helloGiveUp && now.Sub(f.started) < repairGiveUp:
				c.attempt(now, s, ReasonRepair)
				hope = true
			}
			if hope {
				break
			}
		}
		if !hope {
			c.finish(now, f, ErrNoGoodCopy)
		}
	}
}

// driveNotices tells a person, when no server answers, who was asked and what
// may be wrong; and fails reads when that was wanted.
func (c *Client) driveNotices(now Instant) {
	if c.pauseNow.active && (c.demands == 0 || now >= c.pauseNow.from.Add(pauseSettles)) {
		c.tellMove(now, now.Sub(c.progress))
	}
	if c.lostAt == Never {
		return
	}
	if now >= c.notice {
		c.notice = now.Add(noticeAgain)
		c.event(now, Event{Kind: EventWaiting, Text: c.waitingText(now)})
	}
	if c.cfg.FailAfter > 0 && now.Sub(c.lostAt) >= c.cfg.FailAfter {
		for _, f := range c.fetches {
			if f != nil {
				c.finish(now, f, ErrNoServer)
			}
		}
	}
}

// waitingText says who was asked, what came of it and what may be wrong.
func (c *Client) waitingText(now Instant) string {
	var asked []string
	for _, s := range c.servers {
		if !s.asked {
			continue
		}
		note := s.note
		if note == "" {
			note = "no answer"
		}
		asked = append(asked, fmt.Sprintf("%s (%s): %s", s.label(), s.addr, note))
	}
	return fmt.Sprintf("no server serves this target since %s; asked %s; the servers may be down, their UDP port may be blocked, or the farm key is not theirs",
		now.Sub(c.lostAt).Round(time.Second), strings.Join(asked, ", "))
}

func (c *Client) beginMove(now Instant, p *path, from *server) {
	c.stats.Failovers++
	e := Event{Kind: EventMoved, To: p.server.label(), Addr: p.server.addr, Reason: p.why, At: now}
	if from != nil {
		e.From = from.label()
	}
	c.pauseNow = pauseWatch{active: true, event: e, from: now}
	if c.demands == 0 {
		c.tellMove(now, 0)
	}
}

// tellMove announces a move with the pause that it cost.
func (c *Client) tellMove(now Instant, pause time.Duration) {
	c.pauseNow.active = false
	e := c.pauseNow.event
	if c.demands == 0 && pause > 0 && now != c.progress {
		pause = 0
	}
	e.Pause = max(pause, 0)
	c.out.Events = append(c.out.Events, e)
	for _, p := range c.paths {
		if p != c.current && !p.aux && !p.attempting() {
			p.pauseUS = uint32(min(e.Pause.Microseconds(), 1<<31))
		}
	}
}

func (c *Client) sortServers() {
	slices.SortStableFunc(c.servers, func(a, b *server) int { return a.rank - b.rank })
}
