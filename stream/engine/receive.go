package engine

import (
	"errors"
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
	if errors.Is(err, secure.ErrReplay) {
		c.stats.Replays++
	} else {
		c.stats.Forged++
	}
}

// receiveFirst takes a datagram of a resumed session, which carries what the
// keys are made from. The first one that opens decides the keys.
func (c *Client) receiveFirst(now Instant, p *path, from netip.AddrPort, datagram []byte) {
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
	if p.state != pathResuming || !p.server.is(first.Server, from) {
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
	p.server.id, p.server.named = first.Server, true
	p.life = now.Add(resumedLife + c.spread(resumedLife/2))
	if p.sends == 1 {
		p.flownAt = p.started
	}
	c.opened(now, p)
	c.ping(now, p) // the first sealed datagram proves us, and our address
	c.accept(now, p, frames, counter, len(datagram))
}

func (c *Client) receiveWelcome(now Instant, p *path, from netip.AddrPort, datagram []byte) {
	if p.state != pathHello {
		return
	}
	reply, head, keys, err := p.handshake.Welcome(datagram)
	if err != nil {
		c.stats.Forged++
		if from == p.server.addr {
			p.unopened, p.server.note = true, noteSealed
		}
		return
	}
	r, err := wire.ParseLoginReply(reply)
	if err != nil {
		c.stats.Malformed++
		return
	}
	s := p.server
	if !s.is(r.ServerID, from) {
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
		s.note = r.Sentence
		wait := min(time.Duration(r.RetryAfterMS)*time.Millisecond, retryAllMax)
		s.aside(now, wait)
		c.end(p)
		c.nextTry = earlier(c.nextTry, now.Add(wait))
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
	if h.Hint == wire.HintUnknownSession {
		c.hintUnknown(now, from, h)
		return
	}
	p := c.byIndex(h.Receiver)
	if p == nil || p.server.addr != from {
		return
	}
	if h.Hint == wire.HintTicketRefused && p.state == pathResuming && p.hinted == Never {
		p.hinted = now
		c.attempt(now, p.server, p.why, p.hops, false) // beside the flight, which may still be answered
		return
	}
	p.server.note = h.Hint.String()
}

// hintUnknown: somebody says that a server does not know a session that we speak
// of. That is as it should be when we have left it; else the server was restarted.
func (c *Client) hintUnknown(now Instant, from netip.AddrPort, h wire.Hint) {
	for _, p := range c.paths {
		if p.sealer == nil || p.server.addr != from || h.Receiver != p.peer || h.Counter >= p.sealer.Counter() {
			continue
		}
		switch {
		case p == c.current:
			c.hintRestart(now, p)
		case p.state == pathLeft:
			p.heardLeave(now)
		}
		return
	}
}

// hintRestart: somebody says that the serving server does not know the session. A
// server that does know it answers a ping, and the hint is forgotten.
func (c *Client) hintRestart(now Instant, p *path) {
	if p.hinted == Never {
		p.hinted = now
		c.ping(now, p)
	}
	if q := c.attemptTo(p.server); q != nil {
		q.again = earlier(q.again, later(now, q.sentLast.Add(flightAgain))) // it is there to be asked
	}
}

// accept handles the frames of an authentic datagram.
func (c *Client) accept(now Instant, p *path, frames []byte, counter uint64, size int) {
	was, wasFetch, missing := p.counter, p.lastFetch, uint64(0)
	if newest := !p.any || counter > p.counter; newest {
		if p.any {
			missing = counter - p.counter - 1
		}
		p.counter, p.any, p.lastFetch = counter, true, 0
	}
	p.largest = max(p.largest, size)
	if size > requestDatagram {
		p.large, p.dark = now, 0
	}
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
	if revived && p == c.current {
		c.revived(p)
	}
	if missing > 0 && wasFetch != 0 {
		c.suspectTail(p, wasFetch, was, counter, int(min(missing, maxAsks)))
	}
	c.scanGaps(p, counter)
}

func (c *Client) frame(now Instant, p *path, t wire.FrameType, body []byte, counter uint64, size int) {
	switch t {
	case wire.FrameData:
		d, err := wire.ParseData(body)
		if err != nil {
			c.stats.Malformed++
			return
		}
		c.data(now, p, &d, counter)
	case wire.FramePending:
		if f, err := wire.ParsePending(body); err == nil {
			c.pended(p, f.ID, now)
		}
	case wire.FrameBusy:
		if f, err := wire.ParseBusy(body); err == nil {
			c.busy(now, p, f)
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
func (c *Client) data(now Instant, p *path, d *wire.Data, counter uint64) {
	c.stats.Bytes += uint64(len(d.Payload))
	p.lastData, p.lastFetch = now, d.ID
	p.win.received(now, len(d.Payload), p.rtt.smoothed)
	f := c.byID(d.ID)
	if f == nil || f.avoids(p.server) || f.alone && f.source != p.server {
		if len(d.Payload) > 0 { // an ask behind the end of an answer brings none, and is no duplicate
			c.stats.Late++
		}
		return
	}
	if !f.settle(int(d.Total)) {
		c.contradict(now, p, f)
		return
	}
	c.measure(now, p, f, d)
	if fresh := f.put(now, p, int(d.Position), d.Payload, counter); fresh == 0 && len(d.Payload) > 0 {
		c.stats.Late++
	} else {
		f.suppliedBy(p.server.id)
		if f.Demand {
			c.moved(now)
		}
	}
	if f.done() {
		c.finish(now, f, nil)
		return
	}
	c.list(f, p)
	c.enqueue(f)
}

// measure takes the round trip of an answer's first datagram.
func (c *Client) measure(now Instant, p *path, f *Fetch, d *wire.Data) {
	i := f.askAt(int(d.Position))
	if i < 0 || f.asks[i].path != p {
		return
	}
	a := &f.asks[i]
	p.answered[f.priority()] = later(p.answered[f.priority()], a.sent)
	if a.told || a.tries > 1 || a.from != int(d.Position) || d.Held == heldMost || c.late(now) > oversleep {
		return
	}
	trip := now.Sub(a.sent) - d.HeldTime()
	p.rtt.sample(trip)
	p.win.sample(now, a.sent, trip)
}

// contradict: two lengths were told of one answer, so somebody is wrong. When
// the length is known from the index page, or the same server told both, it is
// this one; else the bytes of one server alone will show.
func (c *Client) contradict(now Instant, p *path, f *Fetch) {
	c.stats.Contradictions++
	c.unqueue(f)
	c.unlist(f)
	if f.Expect >= 0 || f.alone {
		f.avoid = append(f.avoid, p.server.id)
		c.event(now, Event{
			Kind: EventDamaged, From: p.server.label(), Code: wire.CodeDamaged, Text: wire.CodeDamaged.String(), Level: f.Level, Index: f.First,
		})
		c.sendFrame(p, wire.Bad{Level: f.Level, Index: uint64(f.First)})
	}
	f.alone, f.source = true, nil
	f.reset()
	c.place(f)
}

// pended notes that a server will answer later; until then silence about this
// fetch is no sign of anything.
func (c *Client) pended(p *path, id uint32, since Instant) {
	f := c.byID(id)
	if f == nil {
		return
	}
	for i := range f.asks {
		a := &f.asks[i]
		if a.path == p && (a.state == askWaiting || a.state == askPending) {
			p.answered[f.priority()] = later(p.answered[f.priority()], a.sent)
			a.turn(askPending)
			a.at = since
		}
	}
}

// busy: a bound of the server is reached. It wants to be asked again later, or
// to be left for another server.
func (c *Client) busy(now Instant, p *path, m wire.Busy) {
	c.stats.Busy++
	again := now.Add(min(time.Duration(m.RetryAfterMS)*time.Millisecond, retryAllMax) - pendingAgain)
	if m.ID != 0 {
		c.pended(p, m.ID, again)
	}
	for _, f := range c.fetches {
		if m.ID == 0 && f != nil {
			c.pended(p, f.id, again)
		}
	}
	if m.Instead != "" && p == c.current && !c.move.active {
		c.move = moving{active: true, why: ReasonRebalance, at: now.Add(c.spread(busyMove)), ends: Never, to: m.Instead}
	}
}

// failed takes a server's word that it cannot give an object: its copy is no
// good, or its store is gone, which may come back.
func (c *Client) failed(now Instant, p *path, m wire.Failed) {
	f := c.byID(m.ID)
	if f == nil || f.avoids(p.server) {
		return
	}
	c.stats.ServerFailures++
	if m.Code == wire.CodeStoreGone {
		f.gone = true
		c.storeGone(now, p)
	} else {
		c.event(now, Event{Kind: EventDamaged, From: p.server.label(), Code: m.Code, Text: m.Code.String(), Level: m.Level, Index: int64(m.Index)})
	}
	c.unqueue(f)
	f.avoid = append(f.avoid, p.server.id)
	f.again(p)
	c.place(f)
}

// storeGone: what this server serves from is not there any more, so another
// server should serve altogether.
func (c *Client) storeGone(now Instant, p *path) {
	p.server.note = wire.CodeStoreGone.Sentence()
	if p != c.current || c.move.active {
		return
	}
	c.event(now, Event{Kind: EventDamaged, From: p.server.label(), Code: wire.CodeStoreGone, Text: p.server.note, Level: 0, Index: -1})
	c.move = moving{active: true, why: ReasonStoreGone, at: now, ends: Never}
}

// suspectTail: datagrams are missing right behind one that brought bytes of a
// fetch and did not complete it, so what should have followed may be lost.
func (c *Client) suspectTail(p *path, id uint32, was, counter uint64, missing int) {
	f := c.byID(id)
	if f == nil {
		return
	}
	for i := range f.asks {
		if a := &f.asks[i]; a.path == p && a.state == askWaiting && a.told && a.counter == was {
			f.cut(i, missing*max(p.largest, leastPayload), counter)
			break
		}
	}
	c.list(f, p)
}

// scanGaps asks again for gaps that newer datagrams have overtaken often enough.
func (c *Client) scanGaps(p *path, counter uint64) {
	if len(p.gaps) == 0 {
		return
	}
	keep := p.gaps[:0]
	for _, f := range p.gaps {
		if lost := f.age(p, counter); lost > 0 {
			c.stats.Lost++
			p.win.miss(lost)
			c.enqueue(f)
		}
		if f.gaps(p) {
			keep = append(keep, f)
		} else {
			f.listed = nil
		}
	}
	clear(p.gaps[len(keep):])
	p.gaps = keep
}
