package dhcp

import (
	"iter"
	"net/netip"
	"slices"
	"time"
)

// ahead are the addresses that new machines get next on the network on which this server stands, asked for by ARP before anybody wants
// them: an offer of one need not wait then. It is stepped, belongs to one goroutine, and only saves time: an address that is not in it is asked
// for when it is offered.
type ahead struct {
	leases *leases
	subnet *Subnet   // nil: nothing is asked
	looks  []look    // at most aheadMost, in the order in which they are offered
	again  time.Time // when all of them are asked for again
	// claimed is how many strangers have answered since all were asked for.
	claimed int
}

// look is what is known of an address that nobody holds.
type look struct {
	addr  netip.Addr
	asked time.Time // when the question went out whose answers are waited for; zero while there is none
	quiet time.Time // since when it is known that nobody answered; zero, which is long ago, before that
}

// step gives what is to be asked now, and when to step again; the zero time when nothing will ever be asked.
func (h *ahead) step(now time.Time) (questions []netip.Addr, next time.Time) {
	if h.subnet == nil {
		return nil, time.Time{}
	}
	all := !now.Before(h.again)
	if all {
		h.again, h.claimed = now.Add(aheadAgain), 0
	}
	for i := range h.looks {
		if l := &h.looks[i]; !l.asked.IsZero() && !now.Before(l.asked.Add(arpWait)) {
			l.asked, l.quiet = time.Time{}, l.asked.Add(arpWait)
		}
	}
	before := len(h.looks)
	h.looks = slices.DeleteFunc(h.looks, func(l look) bool { return !h.leases.vacant(h.subnet, l.addr, now) })
	if all || len(h.looks) < before {
		questions = h.fill(now, all)
	}
	next = h.again
	for _, l := range h.looks {
		if due := l.asked.Add(arpWait); !l.asked.IsZero() && due.Before(next) {
			next = due
		}
	}
	return questions, next
}

// fill takes in what comes next in the pool, and gives what is to be asked: what is new, or all. Where a stranger answers for one after
// the other, as a router does that answers for everybody, what is new waits for the next time that all are asked for.
func (h *ahead) fill(now time.Time, all bool) (questions []netip.Addr) {
	var looks []look
	for _, a := range h.leases.upcoming(h.subnet, aheadMost, now) {
		l := look{addr: a}
		i := h.index(a)
		if i >= 0 {
			l = h.looks[i]
		} else if h.claimed >= aheadMost {
			continue
		}
		if i < 0 || all {
			l.asked = now
			questions = append(questions, a)
		}
		looks = append(looks, l)
	}
	h.looks = looks
	return questions
}

func (h *ahead) index(a netip.Addr) int {
	return slices.IndexFunc(h.looks, func(l look) bool { return l.addr == a })
}

// silent tells whether an offer of the address may go out at once.
func (h *ahead) silent(a netip.Addr, now time.Time) bool {
	i := h.index(a)
	return i >= 0 && now.Sub(h.looks[i].quiet) < aheadStale
}

// unasked is told when a question could not be sent: silence means nothing then.
func (h *ahead) unasked(a netip.Addr) {
	if i := h.index(a); i >= 0 {
		h.looks[i] = look{addr: a}
	}
}

// vacant tells whether a machine that nobody knows could get the address from our share.
func (l *leases) vacant(s *Subnet, a netip.Addr, now time.Time) bool {
	o := l.byAddr[a]
	return l.cfg.Share.owns(a) && s.usable(a, l.cfg.Addr) && !l.reserved[a] && (o == nil || !o.live(now))
}

// upcoming gives the addresses, at most n, that next finds one after the other for machines that nobody knows. It takes none.
func (l *leases) upcoming(s *Subnet, n int, now time.Time) (all []netip.Addr) {
	l.begin()
	for a := range l.untouched(s) {
		if len(all) == n {
			return all
		}
		if l.vacant(s, a, now) {
			all = append(all, a)
		}
	}
	type candidate struct {
		addr  netip.Addr
		since time.Time // when its lease ended; zero where there was none
	}
	var rest []candidate
	for _, p := range s.Pools {
		for i := range p.size() {
			c := candidate{addr: address(number(p.First) + uint32(i))}
			if !l.vacant(s, c.addr, now) || slices.Contains(all, c.addr) {
				continue
			}
			if o := l.byAddr[c.addr]; o != nil {
				c.since = o.Until
			}
			at := len(rest)
			for at > 0 && c.since.Before(rest[at-1].since) {
				at--
			}
			if at < n-len(all) {
				rest = slices.Insert(rest, at, c)
				rest = rest[:min(len(rest), n-len(all))]
			}
		}
	}
	for _, c := range rest {
		all = append(all, c.addr)
	}
	return all
}

// untouched gives what lies in our share behind the cursor and nobody had yet, each address with the cursor behind it.
func (l *leases) untouched(s *Subnet) iter.Seq2[netip.Addr, cursor] {
	return func(yield func(netip.Addr, cursor) bool) {
		for at := l.fresh[s.Network]; at.pool < len(s.Pools); at = (cursor{pool: at.pool + 1}) {
			p := s.Pools[at.pool]
			for uint64(at.offset) < p.size() {
				a := address(number(p.First) + uint32(at.offset))
				at.offset++
				if l.cfg.Share.owns(a) && l.byAddr[a] == nil && !yield(a, at) {
					return
				}
			}
		}
	}
}
