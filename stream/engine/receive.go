package engine

import (
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

func (c *Client) receiveSealed(now Instant, p *path, datagram []byte) {
	if p.opener == nil {
		c.stats.Strangers++
		return
	}
	frames, counter, err := p.opener.Open(datagram)
	if err != nil {
		c.countOpen(err)
		return
	}
	c.accept(now, p, frames, counter, len(datagram))
}

func (c *Client) countOpen(err error) {
	if err == secure.ErrReplay {
		c.stats.Replays++
	} else {
		c.stats.Forged++
	}
}

// receiveFirst takes a datagram of a resumed session, which carries what the
// keys are made from. The first one that opens decides the keys.
func (c *Client) receiveFirst(now Instant, p *path, datagram []byte) {
	first, _, err := wire.ParseSealedFirst(datagram)
	if err != nil {
		c.stats.Malformed++
		return
	}
	if p.opener != nil {
		if first.Random == p.serverRandom {
			c.receiveSealed(now, p, datagram)
		}
		return
	}
	if p.state != pathResuming || p.server.named && p.server.id != first.Server {
		c.stats.Strangers++
		return
	}
	keys := p.flight.Keys(first)
	opener := secure.NewOpener(keys.Receive, keys.Cipher, clientReplayWindow)
	frames, counter, err := opener.Open(datagram)
	if err != nil {
		c.countOpen(err)
		return
	}
	if t, body, _, err := wire.Next(frames); err == nil && t == wire.FrameClosed {
		if closed, err := wire.ParseClosed(body); err == nil {
			c.refused(now, p, closed.Code, closed.Sentence)
		}
		return
	}
	p.opener, p.sealer = opener, secure.NewSealer(keys.Send, keys.Cipher)
	p.peer, p.serverRandom = first.Index, first.Random
	if !p.server.named {
		p.server.id, p.server.named, p.server.name = first.Server, true, p.server.addr.String()
	}
	p.life = now.Add(resumedLife + c.spread(resumedLife/2))
	c.opened(now, p)
	c.accept(now, p, frames, counter, len(datagram))
}

func (c *Client) receiveWelcome(now Instant, p *path, datagram []byte) {
	if p.state != pathHello {
		return
	}
	reply, head, keys, err := p.handshake.Welcome(datagram)
	if err != nil {
		c.stats.Forged++
		return
	}
	r, err := wire.ParseLoginReply(reply)
	if err != nil {
		c.stats.Malformed++
		return
	}
	s := p.server
	if s.named && s.id != r.ServerID && s.rank < configuredRank {
		c.stats.Strangers++
		return
	}
	s.id, s.name, s.named = r.ServerID, r.Server, true
	switch r.Result {
	case wire.ResultAccept:
		if c.serving && r.Disk.Content != c.disk.Content {
			c.refused(now, p, wire.CodeContentChanged, wire.CodeContentChanged.Sentence())
			return
		}
		c.disk = r.Disk
		p.peer = head.Index
		p.opener = secure.NewOpener(keys.Receive, keys.Cipher, clientReplayWindow)
		p.sealer = secure.NewSealer(keys.Send, keys.Cipher)
		p.life = now.Add(sessionLife - c.spread(sessionLife/6))
		c.keepTicket(now, r)
		c.opened(now, p)
		c.ping(now, p) // the first sealed datagram makes the log-in count
	case wire.ResultRefer:
		c.referred(now, p, r)
	case wire.ResultBusy:
		s.note, s.tried = r.Sentence, now
		s.notBefore = now.Add(min(time.Duration(r.RetryAfterMS)*time.Millisecond, retryAllMax))
		c.end(p)
	default:
		c.refused(now, p, r.Code, r.Sentence)
	}
}

func (c *Client) keepTicket(now Instant, r wire.LoginReply) {
	if r.HasTicket {
		c.takeTicket(now, r.Ticket)
	}
}

func (c *Client) takeTicket(now Instant, t wire.Ticket) {
	c.ticket.blob = append(c.ticket.blob[:0], t.Ticket...)
	c.ticket.secret = t.Secret
	c.ticket.expires = now.Add(time.Duration(t.LifetimeMS) * time.Millisecond)
	for _, s := range c.servers {
		s.noTicket = false
	}
}

func (c *Client) receiveCookie(now Instant, p *path, datagram []byte) {
	var err error
	switch p.state {
	case pathHello:
		err = p.handshake.Cookie(datagram)
	case pathResuming:
		err = p.flight.Cookie(datagram)
	default:
		return
	}
	if err != nil {
		c.stats.Forged++
		return
	}
	if p.cookies++; p.cookies <= cookiesTaken {
		c.sendFirst(now, p)
	}
}

// receiveHint takes an answer that anyone could have made. It is shown, or
// answered by a probe, and changes nothing by itself.
func (c *Client) receiveHint(now Instant, from netip.AddrPort, datagram []byte) {
	h, err := wire.ParseHint(datagram)
	if err != nil {
		c.stats.Malformed++
		return
	}
	c.stats.Hints++
	for _, p := range c.paths {
		if p.server.addr != from {
			continue
		}
		switch {
		case h.Hint == wire.HintUnknownSession:
			if p == c.current && h.Receiver == p.peer && h.Counter < p.sealer.Counter() {
				c.probeRestart(now, p)
			}
		case h.Receiver != p.index:
		case h.Hint == wire.HintTicketRefused:
			if p.state == pathResuming && !p.server.noTicket {
				p.server.noTicket = true
				c.attempt(now, p.server, p.why)
			}
		default:
			p.server.note = h.Hint.String()
		}
	}
}

// accept handles the frames of an authentic datagram.
func (c *Client) accept(now Instant, p *path, frames []byte, counter uint64, size int) {
	was, wasFetch, missing := p.counter, p.lastFetch, uint64(0)
	newest := !p.any || counter > p.counter
	if newest {
		if p.any {
			missing = counter - p.counter - 1
		}
		p.counter, p.any, p.lastFetch = counter, true, 0
	}
	p.largest = max(p.largest, size)
	revived := p.suspect
	for rest := frames; len(rest) > 0; {
		t, body, more, err := wire.Next(rest)
		if err != nil {
			c.stats.Malformed++
			break
		}
		rest = more
		c.frame(now, p, t, body, counter, size)
	}
	p.alive(now)
	if revived {
		c.revived(now, p)
	}
	if missing > 0 && wasFetch != 0 {
		c.suspectTail(p, wasFetch, was, counter, int(min(missing, maxAsks)))
	}
	c.scanGaps(p, counter)
}

func (c *Client) frame(now Instant, p *path, t wire.FrameType, body []byte, counter uint64, size int) {
	switch t {
	case wire.FrameData:
		c.data(now, p, body, counter)
	case wire.FramePending:
		if f, err := wire.ParsePending(body); err == nil {
			c.pended(now, p, f.ID, now)
		}
	case wire.FrameBusy:
		if f, err := wire.ParseBusy(body); err == nil {
			c.stats.Busy++
			again := now.Add(time.Duration(f.RetryAfterMS)*time.Millisecond - pendingAgain)
			c.pended(now, p, f.ID, again)
		}
	case wire.FrameFailed:
		if f, err := wire.ParseFailed(body); err == nil {
			c.failed(now, p, f)
		}
	case wire.FramePad:
	default:
		c.control(now, p, t, body, size)
	}
}

// data takes a piece of an answer.
func (c *Client) data(now Instant, p *path, body []byte, counter uint64) {
	d, err := wire.ParseData(body)
	if err != nil {
		c.stats.Malformed++
		return
	}
	c.stats.Bytes += uint64(len(d.Payload))
	p.lastData, p.lastFetch, p.dark = now, d.ID, 0
	p.win.received(now, len(d.Payload), p.rtt.smoothed)
	f := c.byID(d.ID)
	if f == nil {
		c.stats.Late++
		return
	}
	before := f.weigh()
	if !f.settle(int(d.Total)) {
		c.restart(now, f, p)
		return
	}
	if a := f.askAt(int(d.Position)); a != nil {
		p.answered[f.priority()] = later(p.answered[f.priority()], a.sent)
		if a.counter == 0 && a.tries == 1 && a.from == int(d.Position) && f.route == p {
			trip := now.Sub(a.sent) - d.HeldTime()
			p.rtt.sample(trip)
			p.win.sample(now, trip)
		}
	}
	fresh := f.put(now, int(d.Position), d.Payload, counter)
	if f.route != nil {
		f.route.reweigh(before, f.weigh())
	}
	if fresh == 0 && len(d.Payload) > 0 {
		c.stats.Late++
	} else {
		f.suppliedBy(p.server.id)
		if f.Demand {
			c.moved(now)
		}
	}
	switch {
	case f.done():
		c.finish(now, f, nil)
	case f.suspects > 0 && !f.listed && f.route == p:
		f.listed = true
		p.gaps = append(p.gaps, f)
	}
}

// restart begins a fetch anew whose answer two servers do not agree on: one of
// them is wrong, and the hashes will tell which.
func (c *Client) restart(now Instant, f *Fetch, p *path) {
	c.stats.Contradictions++
	c.unroute(f)
	c.unqueue(f)
	avoid := append(f.avoid, f.Servers...)
	f.begin(f.started, f.id)
	f.Expect = -1
	f.avoid = avoid
	c.place(now, f)
}

// pended notes that a server will answer later; until then silence about this
// fetch is no sign of anything.
func (c *Client) pended(now Instant, p *path, id uint32, since Instant) {
	f := c.byID(id)
	if f == nil || f.route != p {
		return
	}
	before := f.weigh()
	for i := range f.asks {
		a := &f.asks[i]
		if a.state == askWaiting || a.state == askPending {
			a.state, a.at = askPending, since
			p.answered[f.priority()] = later(p.answered[f.priority()], a.sent)
		}
	}
	p.reweigh(before, f.weigh())
}

// failed takes a server's word that its copy of an object is no good.
func (c *Client) failed(now Instant, p *path, m wire.Failed) {
	f := c.byID(m.ID)
	if f == nil || f.avoids(p.server.id) {
		return
	}
	c.stats.ServerFailures++
	c.event(now, Event{Kind: EventDamaged, From: p.server.label(), Code: m.Code, Text: m.Code.String(), Level: m.Level, Index: int64(m.Index)})
	c.unroute(f)
	c.unqueue(f)
	f.avoid = append(f.avoid, p.server.id)
	f.again()
	c.place(now, f)
}

// suspectTail: datagrams are missing right behind one that brought bytes of a
// fetch and did not complete it, so what should have followed may be lost.
func (c *Client) suspectTail(p *path, id uint32, was, counter uint64, missing int) {
	f := c.byID(id)
	if f == nil || f.route != p {
		return
	}
	before := f.weigh()
	for i := range f.asks {
		a := &f.asks[i]
		if a.state != askWaiting || a.counter != was {
			continue
		}
		n := min(a.to-a.from, missing*max(p.largest, leastPiece))
		f.cut(i, n, counter)
		break
	}
	p.reweigh(before, f.weigh())
	if f.suspects > 0 && !f.listed {
		f.listed = true
		p.gaps = append(p.gaps, f)
	}
}

// scanGaps asks again for gaps that newer datagrams have overtaken often enough.
func (c *Client) scanGaps(p *path, counter uint64) {
	if len(p.gaps) == 0 {
		return
	}
	keep := p.gaps[:0]
	for _, f := range p.gaps {
		if !f.listed || f.route != p {
			continue
		}
		before := f.weigh()
		lost := f.age(counter)
		if lost > 0 {
			c.stats.Lost++
			p.win.lost(lost)
			p.reweigh(before, f.weigh())
			c.enqueue(f)
		}
		if f.suspects > 0 {
			keep = append(keep, f)
		} else {
			f.listed = false
		}
	}
	clear(p.gaps[len(keep):])
	p.gaps = keep
}
