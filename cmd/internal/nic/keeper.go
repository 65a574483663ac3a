package nic

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// state is what the kernel has, as far as it matters.
type state struct {
	cards []card
	addrs []ifAddr
	// routes are the default routes of IPv4 and the routes through the card.
	routes []ifRoute
}

type ifAddr struct {
	index  int
	prefix netip.Prefix
	finite bool // it has a lifetime: a DHCP client looks after it
}

type ifRoute struct {
	index int
	to    netip.Prefix
	via   netip.Addr
}

// repair is what the keeper wants to be done.
type repair struct {
	up      bool // set the card up
	address bool // put the address back, with its routes
	lines   []string
	// renew tells whether the lease is ours to renew.
	renew bool
	// next is when to look again, at the latest.
	next time.Duration
	// index and name are the card's now; index is 0 when it is gone.
	index int
	name  string
}

// keeper decides what to do when the kernel's state is not what was set. It is stepped.
type keeper struct {
	lease  Lease
	since  time.Duration // since when something has been wrong
	wrong  bool
	gone   bool
	owned  string // why the operating system owns the card, or empty
	repair int    // how often in a row
}

// step compares the state with what should be.
func (k *keeper) step(now time.Duration, s state) (r repair) {
	r.renew, r.next = k.owned == "", now+lookAgain
	c, ok := k.find(s.cards, &r)
	if !ok {
		return r
	}
	r.index, r.name = c.index, c.name
	owner, present := k.owner(c, s)
	if owner != k.owned {
		k.owned = owner
		if owner != "" {
			r.say("the operating system looks after %s now: %s", c.name, owner)
		} else {
			r.say("the operating system does not look after %s any more: spate-target does again", c.name)
		}
	}
	r.renew = owner == ""
	what := k.missing(c, s, owner, present)
	switch {
	case what == "":
		k.wrong, k.repair = false, 0
	case !k.wrong:
		k.wrong, k.since = true, now
		r.next = now + repairAfter
	case now-k.since < repairAfter:
		r.next = k.since + repairAfter
	default:
		r.say("%s on %s, and the disk is behind it: putting it back", what, c.name)
		r.up, r.address = !c.up, owner == ""
		k.since, k.repair = now, min(k.repair+1, 10)
		r.next = now + repairAfter
	}
	return r
}

func (r *repair) say(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// find finds the card, whatever it is called now, and notes its name and index.
func (k *keeper) find(cards []card, r *repair) (card, bool) {
	i := slices.IndexFunc(cards, func(c card) bool {
		return c.index == k.lease.Index && (c.mac == k.lease.MAC || c.permanent == k.lease.MAC)
	})
	if i < 0 {
		// The driver may have been loaded anew, or the card put into another slot.
		real := hardware(cards)
		j := slices.IndexFunc(real, func(c card) bool { return c.mac == k.lease.MAC || c.permanent == k.lease.MAC })
		if j < 0 {
			if !k.gone {
				k.gone = true
				r.say("network card %s %s is gone; waiting for it", k.lease.Name, k.lease.MAC)
			}
			return card{}, false
		}
		i = slices.IndexFunc(cards, func(c card) bool { return c.index == real[j].index })
	}
	c := cards[i]
	switch {
	case k.gone:
		r.say("network card %s %s is back", c.name, k.lease.MAC)
	case c.name != k.lease.Name:
		r.say("network card %s is called %s now", k.lease.Name, c.name)
	}
	k.gone, k.lease.Index, k.lease.Name = false, c.index, c.name
	return c, true
}

// owner says why the operating system owns the card, and whether our address is there.
func (k *keeper) owner(c card, s state) (why string, present bool) {
	finite := false
	for _, a := range s.addrs {
		if a.prefix.Addr() == k.lease.Address.Addr() {
			present, finite = true, finite || a.finite
		}
	}
	if finite {
		return "it has given " + k.lease.Address.Addr().String() + " a lifetime", true
	}
	if present {
		return "", true
	}
	for _, a := range s.addrs {
		if a.index == c.index || c.master != 0 && a.index == c.master || k.lease.Address.Contains(a.prefix.Addr()) {
			return fmt.Sprintf("it has set the address %s", a.prefix), false
		}
	}
	return "", false
}

// missing says what is missing for the disk to be reached, or nothing.
func (k *keeper) missing(c card, s state, owner string, present bool) string {
	switch {
	case !c.up:
		return "the card is down"
	case owner != "":
		return ""
	case !present:
		return "the address " + k.lease.Address.String() + " is missing"
	case !c.carrier:
		return "" // without a link there are no routes, and none can be set
	case k.lease.Router.IsValid() && !slices.ContainsFunc(s.routes, func(r ifRoute) bool { return r.to.Bits() == 0 }):
		return "the route through " + k.lease.Router.String() + " is missing"
	}
	var lost []string
	for _, want := range k.lease.Routes {
		if !slices.ContainsFunc(s.routes, func(r ifRoute) bool { return r.to == want.To }) {
			lost = append(lost, want.To.String())
		}
	}
	if len(lost) > 0 {
		return "the route to " + strings.Join(lost, ", ") + " is missing"
	}
	return ""
}
