package engine

import (
	"slices"

	"github.com/spate-project/spate/stream/wire"
)

// Fetch is one read of consecutive objects of one level: chunks (level 0) or
// index pages. The caller fills the exported fields before it hands the fetch
// to [Client.Fetch] and owns it again when the client returns it; in between
// all of it, Buf too, is the engine's.
type Fetch struct {
	Level   uint8
	First   int64
	Count   int
	Demand  bool   // somebody waits for it; otherwise it is read-ahead
	Buf     []byte // as long as the answer can be at most
	Expect  int    // length of the answer when it is known from the index page, else -1
	Owner   any    // the caller's own, not looked at
	Total   int    // result: bytes of Buf that are the answer
	Err     error
	Servers []ServerID // result: who supplied bytes of it

	born     Instant
	started  Instant // or begun anew
	id       uint32
	asked    int  // bytes [0, asked) of the answer have been put into asks
	limit    int  // the answer is not longer than this; exact once settled
	settled  bool // the length of the answer is known
	asks     []ask
	queue    *fetchQueue // in which it stands, nil when in none
	only     *path       // a path for repair: it is asked there and nowhere else
	retry    Instant     // 0, or when servers whose store was gone are asked again
	deferred bool        // no path that may be asked is open yet
	listed   *path       // in whose list of gaps it stands
	avoid    []ServerID  // servers that have no good copy of it
	gone     bool        // one of them because its store is gone, which may come back
	alone    bool        // bytes of several servers did not fit together: it takes those of source only
	source   *server
	store    [maxAsks]ask
}

// begin makes the fetch new under an id.
func (f *Fetch) begin(now Instant, id uint32) {
	f.id, f.born, f.started, f.Err = id, now, now, nil
	f.queue, f.only, f.listed, f.deferred, f.source, f.retry = nil, nil, nil, false, nil, 0
	f.asks = f.store[:0]
	f.reset()
}

// reset forgets all bytes that have come.
func (f *Fetch) reset() {
	for i := range f.asks {
		f.asks[i].weigh(-1)
	}
	f.asks = f.asks[:0]
	f.asked, f.Total, f.Servers = 0, 0, f.Servers[:0]
	f.limit, f.settled = len(f.Buf), len(f.Buf) == 0
	if f.Expect >= 0 && f.Expect <= len(f.Buf) {
		f.limit, f.settled = f.Expect, true
	}
}

// done tells whether every byte of the answer is there.
func (f *Fetch) done() bool { return f.settled && f.asked >= f.limit && len(f.asks) == 0 }

// due tells whether something is to be sent again.
func (f *Fetch) due() bool {
	for i := range f.asks {
		if f.asks[i].state == askDue {
			return true
		}
	}
	return false
}

// wants tells whether something is to be sent for it.
func (f *Fetch) wants() bool {
	return f.asked < f.limit && len(f.asks) < maxAsks || f.due()
}

// next gives a range to ask for, of at most room bytes, and marks it as sent on
// p. What is due again comes before what was never asked for. When less than a
// piece would fit, or what is missing is hardly more than that, it waits for
// more room rather than to be cut.
func (f *Fetch) next(now Instant, p *path, piece, room int) (from, to int, ok bool) {
	for i := 0; i < len(f.asks); i++ {
		if f.asks[i].state != askDue {
			continue
		}
		n := portion(f.asks[i].size(), piece, room)
		if n == 0 {
			return 0, 0, false
		}
		if n < f.asks[i].size() && !f.split(i, f.asks[i].from+n) {
			if !f.join() {
				return 0, 0, false // what is under way comes or becomes due, and makes room
			}
			i = -1
			continue
		}
		a := &f.asks[i]
		a.send(now, p)
		return a.from, a.to, true
	}
	n := portion(f.limit-f.asked, piece, room)
	if n == 0 || len(f.asks) >= maxAsks {
		return 0, 0, false
	}
	from, to = f.asked, f.asked+n
	f.asked = to
	f.asks = append(f.asks, ask{from: from, to: to})
	f.asks[len(f.asks)-1].send(now, p)
	return from, to, true
}

// portion is how much of n bytes one ask takes where the window has room for
// room: at most morePieces pieces, so that answers keep flowing, and 0 where it is
// better to wait until there is room for a whole piece.
func portion(n, piece, room int) int {
	n = min(n, morePieces*piece)
	switch {
	case n <= room:
		return n
	case room < piece || n < 2*piece:
		return 0
	}
	return room
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
	for i := len(f.asks) - 1; i >= 0; i-- {
		if a := &f.asks[i]; a.from >= total {
			f.drop(i)
		} else if a.to > total {
			a.clip(a.from, total)
		}
	}
	return true
}

// put copies the bytes of a piece at position pos that are still missing and
// returns how many were. The piece came on p in the datagram counter.
func (f *Fetch) put(now Instant, p *path, pos int, piece []byte, counter uint64) (fresh int) {
	end := pos + len(piece)
	for i := 0; i < len(f.asks); i++ {
		a := &f.asks[i]
		lo, hi := max(a.from, pos), min(a.to, end)
		if lo >= hi {
			continue
		}
		copy(f.Buf[lo:hi], piece[lo-pos:hi-pos])
		fresh += hi - lo
		switch {
		case lo == a.from && hi == a.to:
			f.drop(i)
			i--
		case lo == a.from:
			a.clip(hi, a.to)
			a.progress(now, p, counter)
		case hi == a.to:
			a.clip(a.from, lo)
			a.overtaken(p, counter)
		case f.split(i, lo):
			f.asks[i].overtaken(p, counter)
			i++
			f.asks[i].clip(hi, f.asks[i].to)
			f.asks[i].progress(now, p, counter)
		default: // no room for one ask more: these bytes will come twice
			a.overtaken(p, counter)
		}
	}
	if pos <= f.asked && f.asked < end && f.asked < f.limit {
		// An answer to what was asked elsewhere may run ahead of our asks.
		hi := min(end, f.limit)
		copy(f.Buf[f.asked:hi], piece[f.asked-pos:hi-pos])
		fresh += hi - f.asked
		f.asked = hi
	}
	return fresh
}

// split divides ask i at a byte in its middle, when there is room for one more.
func (f *Fetch) split(i, at int) bool {
	if len(f.asks) == maxAsks {
		return false
	}
	f.asks = slices.Insert(f.asks, i+1, f.asks[i])
	a, b := &f.asks[i], &f.asks[i+1]
	a.weigh(-1)
	a.to, b.from = at, at
	a.weigh(1)
	b.weigh(1)
	return true
}

// join makes room for one ask more: of the neighbours that are both due it makes
// the two with the least between them one, and what lies between comes twice. It
// tells whether there are such.
func (f *Fetch) join() bool {
	best, least := -1, 0
	for i := range len(f.asks) - 1 {
		a, b := &f.asks[i], &f.asks[i+1]
		if hole := b.from - a.to; a.state == askDue && b.state == askDue && (best < 0 || hole < least) {
			best, least = i, hole
		}
	}
	if best < 0 {
		return false
	}
	f.asks[best].to = f.asks[best+1].to // neither weighs anything while it is due
	f.drop(best + 1)
	return true
}

func (f *Fetch) drop(i int) {
	f.asks[i].weigh(-1)
	f.asks = slices.Delete(f.asks, i, i+1)
}

// again makes everything due that is under way on p, and tells whether that is
// anything.
func (f *Fetch) again(p *path) (any bool) {
	for i := range f.asks {
		if f.asks[i].path == p {
			f.asks[i].again()
			any = true
		}
	}
	return any
}

// claim notes that what is due of [from, to) was sent on p a while ago.
func (f *Fetch) claim(now Instant, p *path, from, to int, sent Instant) {
	for i := 0; i < len(f.asks); i++ {
		a := &f.asks[i]
		if a.state != askDue || a.from >= to || a.to <= from {
			continue
		}
		if a.from < from {
			f.split(i, from)
			continue // with what lies behind
		}
		if a.to > to && !f.split(i, to) {
			continue
		}
		f.asks[i].send(now, p)
		f.asks[i].sent = sent
	}
}

func (f *Fetch) priority() wire.Priority {
	if f.Demand {
		return wire.Demand
	}
	return wire.ReadAhead
}

// askAt finds the ask that misses the byte at pos, -1 when it is not missing.
func (f *Fetch) askAt(pos int) int {
	for i := range f.asks {
		if a := &f.asks[i]; pos >= a.from && pos < a.to {
			return i
		}
	}
	return -1
}

// cut makes the first n bytes of ask i a gap.
func (f *Fetch) cut(i, n int, counter uint64) {
	if n < f.asks[i].size() {
		f.split(i, f.asks[i].from+n)
	}
	f.asks[i].suspect(counter)
}

// gaps tells whether it has gaps on p.
func (f *Fetch) gaps(p *path) bool {
	for i := range f.asks {
		if f.asks[i].state == askGap && f.asks[i].path == p {
			return true
		}
	}
	return false
}

// age counts one newer datagram of p against each gap there and returns how
// many bytes have become due again.
func (f *Fetch) age(p *path, counter uint64) (lost int) {
	for i := range f.asks {
		a := &f.asks[i]
		if a.state != askGap || a.path != p || a.counter >= counter {
			continue
		}
		if a.newer++; a.newer >= newerPieces {
			lost += a.size()
			a.again()
		}
	}
	return lost
}

func (f *Fetch) suppliedBy(id ServerID) {
	if !slices.Contains(f.Servers, id) {
		f.Servers = append(f.Servers, id)
	}
}

func (f *Fetch) avoids(s *server) bool { return s.named && slices.Contains(f.avoid, s.id) }
