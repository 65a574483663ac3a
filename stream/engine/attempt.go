package engine

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

func (c *Client) attemptTo(s *server) *path {
	for _, p := range c.paths {
		if p.server == s && p.attempting() {
			return p
		}
	}
	return nil
}

// ticketFor tells whether a server is to be asked with a ticket. Renewals are
// always full handshakes.
func (c *Client) ticketFor(now Instant, s *server, why Reason) bool {
	return c.serving && len(c.ticket.blob) > 0 && now < c.ticket.expires && !s.noTicket && why != ReasonRenewal
}

// attempt opens a session with a server, by ticket or by a full handshake. hops
// is how many referrals in a row led there.
func (c *Client) attempt(now Instant, s *server, why Reason, hops int, byTicket bool) {
	if len(c.paths) >= maxPaths && !c.makeRoom(why) {
		return
	}
	p := &path{
		server: s, why: why, index: c.newIndex(), started: now, hops: hops, due: Never, hinted: Never, heard: now, tick: now,
		statusAt: Never, life: Never, win: newWindow(c.most),
	}
	s.tried, s.asked = now, true
	var err error
	if byTicket {
		err = c.prepareFlight(p)
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

// makeRoom forgets a path that was left or, for the sake of being served, one
// that is for repair.
func (c *Client) makeRoom(why Reason) bool {
	for _, p := range c.paths {
		if p.state == pathLeft || why != ReasonRepair && p.attempting() && p.why == ReasonRepair {
			c.end(p)
			return true
		}
	}
	return false
}

// end forgets an attempt.
func (c *Client) end(p *path) {
	if i := slices.Index(c.paths, p); i >= 0 {
		c.paths = slices.Delete(c.paths, i, i+1)
	}
}

// endAttempts forgets what is being tried for the sake of being served.
func (c *Client) endAttempts() {
	c.paths = slices.DeleteFunc(c.paths, func(p *path) bool { return p.attempting() && p.why != ReasonRepair })
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
	login.Avoid = slices.Clone(login.Avoid)
	for _, s := range c.servers {
		if s.name != "" && s.penalty > 0 && len(login.Avoid) < wire.MaxAvoid && s != p.server {
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
func (c *Client) prepareFlight(p *path) error {
	var frames []byte
	if !p.why.planned() && p.why != ReasonRepair {
		frames = c.flightReads(p, secure.FlightRoom(c.ticket.blob))
	}
	head := wire.Resume{Index: p.index, Cipher: c.cfg.Cipher}
	f, err := secure.NewFlight(c.cfg.Random, c.cfg.Farm, head, c.ticket.blob, c.ticket.secret, frames)
	p.state, p.flight = pathResuming, f
	return err
}

// flightReads makes requests for the demand reads that stand still, as many as
// fit and as may be sent to an address that only a ticket names. The reads stay
// with the old path until the new one has answered.
func (c *Client) flightReads(p *path, room int) (frames []byte) {
	left := min(flightBytes, c.most)
	for i := range uint32(fetchSlots) {
		f := c.fetches[(c.nextID+i)%fetchSlots] // the oldest first
		if f == nil || !f.Demand || len(f.avoid) > 0 || f.alone || room-len(frames) < wire.MaxRead {
			continue
		}
		r := wire.Read{ID: f.id, Level: f.Level, Priority: f.priority(), Count: uint16(f.Count), First: uint64(f.First)}
		for j := range f.asks {
			a := &f.asks[j]
			if int(r.N) == wire.MaxRanges || left <= 0 {
				break
			}
			to := min(a.to, a.from+left)
			left -= to - a.from
			r.Ranges[r.N] = wire.Range{From: uint32(a.from), To: uint32(to)}
			r.N++
			p.flown = append(p.flown, flown{f.id, a.from, to})
		}
		if r.N > 0 { // what was not asked for yet goes by the window, after the move
			frames = c.shorten(f, r).Append(frames)
		}
	}
	return frames
}

// takeFlight notes that what the flight asked for is under way on its path.
func (c *Client) takeFlight(now Instant, p *path) {
	for _, r := range p.flown {
		f := c.byID(r.id)
		if f == nil {
			continue
		}
		f.claim(now, p, r.from, r.to, p.started)
		for i := range f.asks {
			if a := &f.asks[i]; a.path == p {
				// The round trip is a sample only when the flight went out once.
				a.tries = 2
				if p.flownAt != 0 {
					a.tries = 1
				}
			}
		}
		if f.queue != nil && !f.wants() {
			f.queue.remove(f)
		}
	}
	p.flown = nil
}

// sendFirst sends a first message or flight, again byte for byte unless a
// cookie has come.
func (c *Client) sendFirst(now Instant, p *path) {
	first, most := helloAgain, helloAgainMax
	b := c.out.room(maxFirst)
	if p.state == pathHello {
		b = p.handshake.Again(b)
	} else {
		b = p.flight.Again(b)
		first, most = flightAgain, flightAgainMax
	}
	p.again = now.Add(min(first<<min(p.sends, 6), most))
	p.sends++
	p.sentLast = now
	c.out.send(p.server.addr, b)
}

// driveAttempts sends first messages again and gives up on those that stay
// without an answer.
func (c *Client) driveAttempts(now Instant) {
	paths, n := c.allPaths()
	for _, p := range paths[:n] {
		switch {
		case !p.attempting() || now < p.again:
		case now.Sub(p.started) >= helloGiveUp:
			p.server.note = noteSilent
			if p.unopened {
				p.server.note = noteSealed
			}
			p.server.fail(now)
			c.end(p)
			c.nextTry = earlier(c.nextTry, now.Add(retryAllMin))
		default:
			c.sendFirst(now, p)
		}
	}
}

// refused: a server will not serve us, or not by ticket.
func (c *Client) refused(now Instant, p *path, code wire.Code, sentence string) {
	s := p.server
	s.note = sentence
	c.end(p)
	switch {
	case code == wire.CodeContentChanged && c.referral:
		// What the referral promised is not there any more, and nothing was read yet.
		c.serving, c.referral = false, false
		c.disk, c.ticket.blob = wire.Disk{}, nil
		c.attempt(now, s, p.why, p.hops, false)
	case p.state == pathResuming && code != wire.CodeContentChanged:
		s.noTicket = true
		c.attempt(now, s, p.why, p.hops, false)
	default:
		s.refuses(now)
		s.refused = s.notBefore
		c.event(now, Event{Kind: EventDenied, From: s.label(), Addr: s.addr, Code: code, Text: sentence})
	}
}

// referred: another server is to serve us, and a ticket opens its door.
func (c *Client) referred(now Instant, p *path, r wire.LoginReply) {
	c.end(p)
	s := p.server
	s.note = "refers to another server"
	s.aside(now, retryAllMax)
	s.referrer = true
	if !c.serving {
		c.disk = r.Disk
		c.serving = true // the ticket names this content, and only it
		c.referral = true
	} else if r.Disk.Content != c.disk.Content {
		c.event(now, Event{
			Kind: EventDenied, From: s.label(), Addr: s.addr, Code: wire.CodeContentChanged, Text: wire.CodeContentChanged.Sentence(),
		})
		return
	}
	c.keepTicket(now, r)
	c.nextTry = now.Add(helloStagger)
	for i, a := range r.Refer {
		to := c.meet(a.ID, a.Name, a.Addr, formerRank+i)
		if i == 0 && to != nil && p.hops < referralsMax && c.attemptTo(to) == nil {
			c.attempt(now, to, p.why, p.hops+1, c.ticketFor(now, to, p.why))
		}
	}
	c.sortServers()
}

// meet finds or makes the server that another one has named. It gives nil when
// there is no room or no address.
func (c *Client) meet(id ServerID, name string, addr netip.AddrPort, rank int) *server {
	if !addr.IsValid() {
		return nil
	}
	var s *server
	for _, o := range c.servers {
		if o.named && o.id == id && id != (ServerID{}) {
			s = o
			break
		}
		if o.addr == addr && s == nil {
			s = o
		}
	}
	if s == nil {
		if len(c.servers) >= maxServers && !c.forgetServer() {
			return nil
		}
		s = &server{rank: rank, home: formerRank}
		c.servers = append(c.servers, s)
	}
	if id != (ServerID{}) {
		s.id, s.named = id, true
	}
	s.name, s.addr = name, addr
	return s
}

// forgetServer makes room by forgetting one that is neither configured nor an
// alternate any more and that no path leads to.
func (c *Client) forgetServer() bool {
	i := slices.IndexFunc(c.servers, func(s *server) bool {
		return s.rank >= formerRank && !s.configured() && s != c.lastServer &&
			!slices.ContainsFunc(c.paths, func(p *path) bool { return p.server == s })
	})
	if i >= 0 {
		c.servers = slices.Delete(c.servers, i, i+1)
	}
	return i >= 0
}

func (c *Client) sortServers() {
	slices.SortStableFunc(c.servers, func(a, b *server) int { return a.rank - b.rank })
}
