package engine

import "github.com/spate-project/spate/stream/wire"

// Fetch is one read of consecutive objects of one level: chunks (level 0) or
// index pages. The caller fills the exported fields before it hands the fetch
// to [Client.Fetch] and owns it again when the client returns it; in between
// Buf is the engine's.
type Fetch struct {
	Level    uint8
	First    int64
	Count    int
	Demand   bool // somebody waits for it; otherwise it is read-ahead
	Buf      []byte
	Expect   int // length of the answer when it is known from the index page, else -1
	Owner    any // the caller's own, not looked at
	Total    int // result: bytes of Buf that are the answer
	Err      error
	Servers  []ServerID // result: who supplied bytes of it
	started  Instant
	id       uint32
	route    *path // where its asks are sent
	asked    int   // bytes [0, asked) of the answer have been put into asks
	limit    int   // the answer is not longer than this; exact once settled
	settled  bool
	queued   bool
	deferred bool // no path that may be asked is open yet
	suspects int  // asks in state gap
	listed   bool // in its route's list of gaps
	asks     []ask
	avoid    []ServerID // servers that have no good copy of it
	store    [maxAsks]ask
}

// ask is a range of a fetch's answer that was asked for and has not arrived.
// The server sends its bytes in order, so that from moves as they come.
type ask struct {
	from, to int
	sent     Instant
	at       Instant // last progress: sent, got bytes, or was said to be pending
	counter  uint64  // of the newest datagram that told something about it
	state    askState
	newer    uint8 // pieces that came after the gap was seen
	tries    uint8 // how often it was sent
}

type askState uint8

const (
	askDue     askState = iota // to be sent, for the first time or again
	askWaiting                 // sent
	askPending                 // the server has it and will answer later
	askGap                     // sent, newer bytes came and these did not
)

func (f *Fetch) begin(now Instant, id uint32) {
	f.id, f.started = id, now
	f.asked, f.suspects, f.Total, f.Err = 0, 0, 0, nil
	f.route, f.queued, f.listed, f.deferred = nil, false, false, false
	f.limit, f.settled = len(f.Buf), false
	if f.Expect >= 0 {
		f.limit, f.settled = f.Expect, true
	}
	f.asks = f.store[:0]
	f.Servers = f.Servers[:0]
}

// done tells whether every byte of the answer is there.
func (f *Fetch) done() bool { return f.settled && f.asked >= f.limit && len(f.asks) == 0 }

// weight is what a fetch has under way, in bytes.
type weight struct{ outstanding, pending int }

func (f *Fetch) weigh() (w weight) {
	for i := range f.asks {
		a := &f.asks[i]
		if a.state == askDue {
			continue
		}
		w.outstanding += a.to - a.from
		if a.state == askPending {
			w.pending += a.to - a.from
		}
	}
	return w
}

// wants tells whether something is to be sent for it.
func (f *Fetch) wants() bool {
	if f.asked < f.limit {
		return len(f.asks) < maxAsks
	}
	for i := range f.asks {
		if f.asks[i].state == askDue {
			return true
		}
	}
	return false
}

// next gives a range to ask for, of room bytes or a little more, and marks it
// as sent. What is due again comes before what was never asked for.
func (f *Fetch) next(now Instant, room int) (from, to int, ok bool) {
	for i := range f.asks {
		a := &f.asks[i]
		if a.state == askDue {
			a.state, a.sent, a.at, a.newer, a.counter = askWaiting, now, now, 0, 0
			a.tries++
			return a.from, a.to, true
		}
	}
	if f.asked >= f.limit || len(f.asks) >= maxAsks {
		return 0, 0, false
	}
	n := f.limit - f.asked
	if room = max(room, preferredAsk); n > room+room/2 {
		n = room
	}
	from, to = f.asked, f.asked+n
	f.asked = to
	f.asks = append(f.asks, ask{from: from, to: to, sent: now, at: now, state: askWaiting, tries: 1})
	return from, to, true
}

// settle takes the length of the whole answer as a server tells it. It returns
// false when it contradicts what is known.
func (f *Fetch) settle(total int) bool {
	if f.settled {
		return total == f.limit
	}
	if total > f.limit {
		return false
	}
	f.limit, f.settled = total, true
	f.asked = min(f.asked, total)
	keep := f.asks[:0]
	for _, a := range f.asks {
		a.to = min(a.to, total)
		if a.from < a.to {
			keep = append(keep, a)
		}
	}
	f.asks = keep
	f.countSuspects()
	return true
}

// put copies the bytes of a piece at position pos that are still missing and
// returns how many were. counter is the number of the datagram that brought it.
func (f *Fetch) put(now Instant, pos int, piece []byte, counter uint64) (fresh int) {
	end := pos + len(piece)
	for i := 0; i < len(f.asks); i++ {
		a := &f.asks[i]
		lo, hi := max(a.from, pos), min(a.to, end)
		if lo >= hi {
			continue
		}
		copy(f.Buf[lo:hi], piece[lo-pos:hi-pos])
		fresh += hi - lo
		a.counter, a.at = max(a.counter, counter), now
		switch {
		case lo == a.from && hi == a.to:
			f.drop(i)
			i--
		case lo == a.from:
			a.from = hi
		default:
			i += f.split(i, lo, hi, counter)
		}
	}
	if end > f.asked && pos <= f.asked && f.asked < f.limit {
		// Another server's answer to the same request may run ahead of our asks.
		hi := min(end, f.limit)
		copy(f.Buf[f.asked:hi], piece[f.asked-pos:hi-pos])
		fresh += hi - f.asked
		f.asked = hi
	}
	f.countSuspects()
	return fresh
}

// split handles a piece [lo, hi) in the middle of ask i or at its end: what lies before
// it is a gap, unless its bytes are on the way again already. It returns how
// many asks were put in before the rest.
func (f *Fetch) split(i, lo, hi int, counter uint64) int {
	a := f.asks[i]
	before := ask{from: a.from, to: lo, sent: a.sent, at: a.at, counter: counter, state: a.state, tries: a.tries}
	if a.state == askWaiting || a.state == askPending {
		before.state, before.newer = askGap, 0
	}
	if hi >= a.to {
		f.asks[i] = before
		return 0
	}
	rest := ask{from: hi, to: a.to, sent: a.sent, at: a.at, counter: counter, state: a.state, newer: a.newer, tries: a.tries}
	if rest.state == askPending {
		rest.state = askWaiting
	}
	if len(f.asks) == maxAsks {
		// No room for another range: keep one that covers both. The bytes
		// between come twice and are not taken twice.
		before.to = a.to
		f.asks[i] = before
		return 0
	}
	f.asks = append(f.asks, ask{})
	copy(f.asks[i+2:], f.asks[i+1:])
	f.asks[i], f.asks[i+1] = before, rest
	return 1
}

func (f *Fetch) drop(i int) { f.asks = append(f.asks[:i], f.asks[i+1:]...) }

func (f *Fetch) countSuspects() {
	f.suspects = 0
	for i := range f.asks {
		if f.asks[i].state == askGap {
			f.suspects++
		}
	}
}

// again marks everything that is under way as due, for another server or
// because a whole path is suspected.
func (f *Fetch) again() {
	for i := range f.asks {
		f.asks[i].state = askDue
	}
	f.suspects = 0
}

func (f *Fetch) priority() wire.Priority {
	if f.Demand {
		return wire.Demand
	}
	return wire.ReadAhead
}

// askAt finds the ask that misses the byte at pos.
func (f *Fetch) askAt(pos int) *ask {
	for i := range f.asks {
		if a := &f.asks[i]; pos >= a.from && pos < a.to {
			return a
		}
	}
	return nil
}

// cut makes the first n bytes of ask i a gap.
func (f *Fetch) cut(i, n int, counter uint64) {
	a := f.asks[i]
	gap := a
	gap.to, gap.state, gap.newer, gap.counter = a.from+n, askGap, 0, counter
	if gap.to >= a.to || len(f.asks) == maxAsks {
		gap.to = a.to
		f.asks[i] = gap
	} else {
		f.asks = append(f.asks, ask{})
		copy(f.asks[i+2:], f.asks[i+1:])
		f.asks[i] = gap
		f.asks[i+1] = a
		f.asks[i+1].from = gap.to
	}
	f.countSuspects()
}

// age counts one newer datagram against each gap and returns how many bytes
// have become due again.
func (f *Fetch) age(counter uint64) (lost int) {
	for i := range f.asks {
		a := &f.asks[i]
		if a.state != askGap || a.counter >= counter {
			continue
		}
		if a.newer++; a.newer >= newerPieces {
			a.state = askDue
			lost += a.to - a.from
		}
	}
	f.countSuspects()
	return lost
}

func (f *Fetch) suppliedBy(id ServerID) {
	for _, s := range f.Servers {
		if s == id {
			return
		}
	}
	f.Servers = append(f.Servers, id)
}

func (f *Fetch) avoids(id ServerID) bool {
	for _, s := range f.avoid {
		if s == id {
			return true
		}
	}
	return false
}
