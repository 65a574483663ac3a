package dhcp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

// state is what is known of an address.
type state string

const (
	stateOffered  state = "offered"  // kept for a machine for some seconds; not in the journal
	stateHeld     state = "held"     // given by us
	stateNoted    state = "noted"    // given by another server of the farm, as the machine's own REQUEST told
	stateReleased state = "released" // given back; kept in mind, so that the machine gets it again
	stateDeclined state = "declined" // somebody uses it who did not get it from here; MAC is who, 0 where ARP has not told
)

// lease is an address and the machine that it belongs to.
type lease struct {
	Addr  netip.Addr  `json:"addr"`
	MAC   bootsvc.MAC `json:"mac"`
	State state       `json:"state"`
	Until time.Time   `json:"until"`
	// left is when a DISCOVER of the machine was left to the server that gave it the address.
	left time.Time
}

// live tells whether nobody else may have the address.
func (l *lease) live(now time.Time) bool { return l.State != stateReleased && now.Before(l.Until) }

// leases says which address a machine gets. It is stepped: time is an argument, and each change that must outlive the program
// is handed to keep. It belongs to one goroutine.
type leases struct {
	cfg *Config
	// keep takes each change; the reply that rests on it is sent after it is stored.
	keep func(lease)

	byAddr map[netip.Addr]*lease
	byMAC  map[bootsvc.MAC]*lease
	// fresh is where in the own share of each subnet's pools the next address lies that nobody had yet: pool, and offset in it.
	fresh map[netip.Prefix]cursor
	// reserved are the addresses of devices; looked up again for each question.
	reserved map[netip.Addr]bool
	bad      int // how many addresses are in quarantine
	// full are the subnets without a free address in our share. It is emptied whenever something may have become free before its time.
	full map[netip.Prefix]full
}

// full says until when a pool has no free address, and why.
type full struct {
	until time.Time
	why   string
}

type cursor struct{ pool, offset int }

func newLeases(cfg *Config, keep func(lease)) *leases {
	return &leases{cfg: cfg, keep: keep, byAddr: map[netip.Addr]*lease{}, byMAC: map[bootsvc.MAC]*lease{}, fresh: map[netip.Prefix]cursor{}, full: map[netip.Prefix]full{}}
}

// restore takes what the journal holds, in its order: later records count.
func (l *leases) restore(all []lease) {
	for i := range all {
		l.put(all[i])
	}
}

// put makes a record the only one for its address, and for its machine unless it is a quarantine.
func (l *leases) put(n lease) *lease {
	if old := l.byAddr[n.Addr]; old != nil {
		l.drop(old)
	}
	if n.State != stateDeclined {
		if old := l.byMAC[n.MAC]; old != nil {
			l.drop(old)
		}
		l.byMAC[n.MAC] = &n
	} else {
		l.bad++
	}
	l.byAddr[n.Addr] = &n
	return &n
}

func (l *leases) drop(o *lease) {
	clear(l.full)
	delete(l.byAddr, o.Addr)
	if o.State == stateDeclined {
		l.bad--
	} else if l.byMAC[o.MAC] == o {
		delete(l.byMAC, o.MAC)
	}
}

// question is what a machine wants to know about its address.
type question struct {
	mac    bootsvc.MAC
	subnet *Subnet
	// reserved is the address that the farm file reserves for the machine; not valid when there is none.
	reserved netip.Addr
	// wanted is the address that the machine names; not valid when it names none.
	wanted netip.Addr
}

// verdict is what becomes of a question.
type verdict int

const (
	verdictSilent verdict = iota
	verdictGive
	verdictRefuse // NAK
)

// answer is the answer to a question, with its reason.
type answer struct {
	verdict verdict
	addr    netip.Addr
	why     string
	problem bool
	// probe tells that somebody else might use the address without our knowledge: ask by ARP first.
	probe bool
}

func silent(format string, args ...any) answer { return answer{why: fmt.Sprintf(format, args...)} }

func refuse(format string, args ...any) answer {
	return answer{verdict: verdictRefuse, why: fmt.Sprintf(format, args...)}
}

// begin brings the reserved addresses up to date; each question starts with it.
func (l *leases) begin() {
	all := l.cfg.Reserved()
	if len(all) == len(l.reserved) && !slices.ContainsFunc(all, func(a netip.Addr) bool { return !l.reserved[a] }) {
		return
	}
	clear(l.full)
	l.reserved = make(map[netip.Addr]bool, len(all))
	for _, a := range all {
		l.reserved[a] = true
	}
}

// can tells whether a machine may have an address as far as we know.
func (l *leases) can(q question, a netip.Addr, now time.Time) bool {
	o := l.byAddr[a]
	return q.subnet.usable(a, l.cfg.Addr) && (a == q.reserved || !l.reserved[a]) && (o == nil || !o.live(now) || o.MAC == q.mac)
}

// free is can, with the reason why not.
func (l *leases) free(q question, a netip.Addr, now time.Time) (string, bool) {
	switch o := l.byAddr[a]; {
	case !q.subnet.usable(a, l.cfg.Addr):
		return fmt.Sprintf("%s is no address of a machine in %s", a, q.subnet.Network), false
	case a != q.reserved && l.reserved[a]:
		return fmt.Sprintf("%s is reserved for another device", a), false
	case o == nil || !o.live(now) || o.MAC == q.mac:
		return "", true
	case o.State == stateDeclined:
		return fmt.Sprintf("%s is used by a machine that did not get it from here", a), false
	default:
		return fmt.Sprintf("%s belongs to %s", a, o.MAC), false
	}
}

// offer answers a DISCOVER, and keeps the address for the machine for some seconds. The order is RFC 2131's, section 4.3.1, with
// the reservation before it.
func (l *leases) offer(q question, now time.Time) answer {
	l.begin()
	hold := now.Add(offerHold)
	because := ""
	if q.reserved.IsValid() {
		why, ok := l.free(q, q.reserved, now)
		if ok {
			return l.promise(q, q.reserved, hold, now, "it is reserved for this device")
		}
		because = "; its reservation cannot be used: " + why
	}
	if o := l.byMAC[q.mac]; o != nil && q.subnet.pooled(o.Addr) {
		ok := l.can(q, o.Addr, now)
		switch {
		case ok && l.cfg.Share.owns(o.Addr):
			return l.promise(q, o.Addr, hold, now, "it had this one before"+because)
		case ok && o.live(now) && now.Sub(o.left) > patience:
			o.left = now
			return silent("it has %s of another server's share, which is left to that one; if it asks again, it gets one from here", o.Addr)
		}
	}
	if w := q.wanted; w.IsValid() && q.subnet.pooled(w) && l.cfg.Share.owns(w) {
		if l.can(q, w, now) {
			return l.promise(q, w, hold, now, "it asks for this one"+because)
		}
	}
	if f := l.full[q.subnet.Network]; now.Before(f.until) {
		return answer{why: f.why + because, problem: true}
	}
	a, ok := l.next(q, now)
	if !ok {
		f := l.usedUp(q.subnet, now)
		l.full[q.subnet.Network] = f
		return answer{why: f.why + because, problem: true}
	}
	given := l.promise(q, a, hold, now, "it is free"+because)
	given.problem = because != ""
	return given
}

// promise offers an address. What the machine holds already stays as it is, so that an offer that is never taken up costs it
// nothing; an older lease on another address is given up.
func (l *leases) promise(q question, a netip.Addr, hold, now time.Time, why string) answer {
	o := l.byAddr[a]
	mine := o != nil && o.MAC == q.mac && o.State != stateDeclined && o.live(now)
	if !mine {
		l.put(lease{Addr: a, MAC: q.mac, State: stateOffered, Until: hold})
	} else if o.State == stateOffered {
		o.Until = hold
	}
	return answer{verdict: verdictGive, addr: a, why: why, probe: !mine}
}

// next finds an address of our own share: one that nobody had, or the one whose lease ended first.
func (l *leases) next(q question, now time.Time) (netip.Addr, bool) {
	s := q.subnet
	for a, behind := range l.untouched(s) {
		l.fresh[s.Network] = behind
		if l.can(q, a, now) {
			return a, true
		}
	}
	l.fresh[s.Network] = cursor{pool: len(s.Pools)}
	var best netip.Addr
	var since time.Time
	for _, p := range s.Pools {
		for n := range p.size() {
			a := address(number(p.First) + uint32(n))
			if !l.cfg.Share.owns(a) || !l.can(q, a, now) {
				continue
			}
			o := l.byAddr[a]
			if o == nil { // it was in the way of something that is gone: a reservation, or a failed offer
				return a, true
			}
			if !best.IsValid() || o.Until.Before(since) {
				best, since = a, o.Until
			}
		}
	}
	return best, best.IsValid()
}

// usedUp says why there is no address, and what to do.
func (l *leases) usedUp(s *Subnet, now time.Time) full {
	until := now.Add(quarantine)
	if len(s.Pools) == 0 {
		return full{until, fmt.Sprintf("%s has no pool, and no address is reserved for this machine; add one of both to the farm file", s.Network)}
	}
	total, taken, bad, reserved := 0, 0, 0, 0
	for _, p := range s.Pools {
		for n := range p.size() {
			a := address(number(p.First) + uint32(n))
			if !l.cfg.Share.owns(a) {
				continue
			}
			total++
			o := l.byAddr[a]
			if o != nil && o.live(now) && o.Until.Before(until) {
				until = o.Until
			}
			switch {
			case l.reserved[a]:
				reserved++
			case o == nil:
			case o.State == stateDeclined && o.live(now):
				bad++
			case o.live(now):
				taken++
			}
		}
	}
	share := ""
	if l.cfg.Share.Of > 1 {
		share = " that are this server's share"
	}
	text := fmt.Sprintf("the pool of %s is used up: of %d addresses%s %d are leased or offered", s.Network, total, share, taken)
	if bad > 0 {
		text += fmt.Sprintf(", %d used by strangers", bad)
	}
	if reserved > 0 {
		text += fmt.Sprintf(", %d reserved", reserved)
	}
	return full{until, text + fmt.Sprintf("; make the pool larger, or its lease shorter than %v", s.Lease)}
}

// all gives what must outlive the program: everything but offers, those of the longest past first, so that what is restored from it
// is the same whatever the order of a map.
func (l *leases) all() []lease {
	all := make([]lease, 0, len(l.byAddr))
	for _, o := range l.byAddr {
		if o.State != stateOffered {
			all = append(all, *o)
		}
	}
	slices.SortFunc(all, func(a, b lease) int {
		return cmp.Or(a.Until.Compare(b.Until), a.Addr.Compare(b.Addr))
	})
	return all
}
