package engine

// ask is a range of a fetch's answer that was asked for and has not arrived, or
// that is to be asked for again. A server sends the bytes of an ask in order, so
// that from moves as they come.
type ask struct {
	from, to int
	path     *path   // on which it was sent; nil while it is due
	sent     Instant // on that path
	at       Instant // last progress: sent, got bytes, or was said to be pending
	counter  uint64  // of the newest datagram of that path that told something about it
	state    askState
	newer    uint8 // datagrams that came after the gap was seen
	tries    uint8 // how often it was sent
	told     bool  // something came for it since it was sent
}

type askState uint8

const (
	askDue     askState = iota // to be sent again
	askWaiting                 // sent
	askPending                 // the server has it and will answer later
	askGap                     // sent, newer bytes came and these did not
)

func (a *ask) size() int { return a.to - a.from }

// weigh adds the ask to what its path has under way, or with -1 takes it out.
// Whatever changes range, path or state stands between the two.
func (a *ask) weigh(sign int) {
	p := a.path
	if p == nil {
		return
	}
	n := sign * a.size()
	p.outstanding += n
	p.asks += sign
	if a.state == askPending {
		p.pending += n
	}
}

// send notes that it goes out on p now.
func (a *ask) send(now Instant, p *path) {
	a.weigh(-1)
	a.path, a.state, a.sent, a.at = p, askWaiting, now, now
	a.counter, a.newer, a.told = 0, 0, false
	a.tries = min(a.tries+1, maxTries)
	a.weigh(1)
}

// again makes it due: to be sent again, on whichever path.
func (a *ask) again() {
	a.weigh(-1)
	a.path, a.state = nil, askDue
}

func (a *ask) turn(s askState) {
	a.weigh(-1)
	a.state = s
	a.weigh(1)
}

func (a *ask) clip(from, to int) {
	a.weigh(-1)
	a.from, a.to = from, to
	a.weigh(1)
}

// suspect makes it a gap, of which a datagram with this counter told.
func (a *ask) suspect(counter uint64) {
	a.turn(askGap)
	a.newer, a.counter = 0, counter
}

// progress notes that its server has come as far as its first byte.
func (a *ask) progress(now Instant, p *path, counter uint64) {
	if a.path != p {
		return
	}
	a.at, a.told, a.counter = now, true, max(a.counter, counter)
	if a.state == askPending {
		a.turn(askWaiting)
	}
}

// overtaken notes that its server has sent bytes that stand behind it.
func (a *ask) overtaken(p *path, counter uint64) {
	if a.path == p && (a.state == askWaiting || a.state == askPending) {
		a.suspect(counter)
	}
}
