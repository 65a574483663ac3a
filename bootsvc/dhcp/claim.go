package dhcp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

// give makes the machine the holder of the address.
func (l *leases) give(q question, now time.Time, why string) answer {
	n := lease{Addr: q.wanted, MAC: q.mac, State: stateHeld, Until: now.Add(q.subnet.Lease)}
	l.put(n)
	l.keep(n)
	return answer{verdict: verdictGive, addr: q.wanted, why: why}
}

// grantable tells whether an address is one that this server may give out at all: from a pool, or reserved for the machine.
func (q question) grantable() bool { return q.wanted == q.reserved || q.subnet.pooled(q.wanted) }

// hearsay tells that what this server believes of an address is no reason to refuse it: it is of another server's share, which may have
// taken it back from one machine (a RELEASE is sent to one server alone) and given it to the next. A refusal from here would take
// the address from a machine that holds it.
func (l *leases) hearsay(q question) bool {
	return q.subnet.pooled(q.wanted) && !l.cfg.Share.owns(q.wanted) && q.subnet.usable(q.wanted, l.cfg.Addr) && !l.reserved[q.wanted]
}

// take answers a REQUEST that selects our offer. The offer may be forgotten, because it took the machine too long or because we
// were restarted: then it still stands when the address is free and ours to give.
func (l *leases) take(q question, now time.Time) answer {
	l.begin()
	if why, ok := l.free(q, q.wanted, now); !ok {
		return refuse("%s", why)
	}
	switch {
	case !q.grantable():
		return refuse("%s is in no pool of %s", q.wanted, q.subnet.Network)
	case q.wanted != q.reserved && !l.cfg.Share.owns(q.wanted):
		return refuse("%s is in another server's share", q.wanted)
	default:
		return l.give(q, now, "it takes the offer")
	}
}

// other takes notice of a REQUEST that selects another server: of this farm, or a stranger's. Our own offer is withdrawn; an
// address that another server of the farm gives is the machine's from now on.
func (l *leases) other(q question, farm bool, now time.Time) answer {
	l.begin()
	if o := l.byMAC[q.mac]; o != nil && o.State == stateOffered {
		l.drop(o)
	}
	if !farm || !q.wanted.IsValid() || !q.grantable() {
		return silent("it takes another server's offer")
	}
	o := l.byAddr[q.wanted]
	if o != nil && o.MAC != q.mac && o.live(now) && o.State != stateOffered && !l.hearsay(q) {
		a := silent("another server of the farm gives %s, which %s holds as far as this one knows", q.wanted, o.MAC)
		a.problem = true
		return a
	}
	n := lease{Addr: q.wanted, MAC: q.mac, State: stateNoted, Until: now.Add(q.subnet.Lease)}
	l.put(n)
	l.keep(n)
	return silent("it takes the offer of another server of the farm, which gives it %s", q.wanted)
}

// reboot answers a machine that comes back with the address that it had (INIT-REBOOT): only a server that knows it may speak.
func (l *leases) reboot(q question, now time.Time) answer {
	l.begin()
	if !q.subnet.Network.Contains(q.wanted) {
		return refuse("%s is not an address of %s, where the machine is now", q.wanted, q.subnet.Network)
	}
	o := l.byMAC[q.mac]
	why, ok := l.free(q, q.wanted, now)
	switch {
	case !ok && l.hearsay(q):
		return silent("as far as this server has heard, %s; the one of its share may know better", why)
	case !ok:
		return refuse("%s", why)
	case q.wanted == q.reserved:
		return l.give(q, now, "it is reserved for this device")
	case q.reserved.IsValid() && q.subnet.Network.Contains(q.reserved):
		if _, ok := l.free(q, q.reserved, now); ok {
			return refuse("%s is reserved for this device now", q.reserved)
		}
	}
	switch {
	case o != nil && o.Addr == q.wanted && q.subnet.pooled(q.wanted) && (l.cfg.Share.owns(q.wanted) || o.live(now)):
		a := l.give(q, now, "it had this one before")
		a.probe = !l.cfg.Share.owns(q.wanted)
		return a
	case o != nil && o.live(now) && o.State != stateOffered && l.cfg.Share.owns(q.wanted):
		return refuse("the machine holds %s", o.Addr)
	default:
		return silent("nothing is known here of this machine at %s; another server may know it, and else it asks for a new address", q.wanted)
	}
}

// renew answers a machine that holds an address and wants it for longer. It may be one of another server's share, and one that we know
// nothing of: see the package comment.
func (l *leases) renew(q question, now time.Time) answer {
	l.begin()
	if !q.subnet.Network.Contains(q.wanted) {
		return refuse("%s is not an address of %s, where the machine is now", q.wanted, q.subnet.Network)
	}
	o := l.byAddr[q.wanted]
	known := o != nil && o.MAC == q.mac && o.State != stateDeclined
	why, ok := l.free(q, q.wanted, now)
	switch {
	case o != nil && o.State == stateOffered && o.MAC != q.mac:
		// Promised to another one on the belief that it is free; the machine that uses it proves otherwise.
		l.drop(o)
		if !q.grantable() {
			return silent("%s is in no pool here", q.wanted)
		}
		return l.give(q, now, "it uses the address, which was offered to another machine")
	case !ok && l.hearsay(q):
		return silent("as far as this server has heard, %s; the one of its share may know better", why)
	case !ok:
		return refuse("%s", why)
	case q.grantable() && known:
		return l.give(q, now, "it holds this one")
	case q.grantable():
		return l.give(q, now, "it uses this one, and nobody else holds it")
	case known:
		return refuse("%s is in no pool any more", q.wanted)
	default:
		return silent("%s is in no pool here", q.wanted)
	}
}

// release takes an address back.
func (l *leases) release(mac bootsvc.MAC, a netip.Addr, now time.Time) answer {
	o := l.byAddr[a]
	if o == nil || o.MAC != mac || o.State == stateDeclined {
		return silent("it gives back %s, which it does not hold", a)
	}
	o.State, o.Until = stateReleased, now
	clear(l.full)
	l.keep(*o)
	return silent("it gives back %s", a)
}

// decline puts an address into quarantine that the machine was given and found in use.
func (l *leases) decline(mac bootsvc.MAC, a netip.Addr, now time.Time) answer {
	o := l.byAddr[a]
	if o == nil || o.MAC != mac || o.State == stateDeclined {
		return silent("it declines %s, which it was not given", a)
	}
	l.isolate(a, bootsvc.MAC{}, now)
	no := silent("it declines %s, because another machine uses it; the address is left alone for %v: look for a machine with a fixed address in the pool, or a second DHCP server", a, quarantine)
	no.problem = true
	return no
}

// conflict is told when user answers for an address that is offered to another machine, or will be to the next one. It may have it from another server of
// the farm, of a time when this one was down: if it wants to keep the address, it may.
func (l *leases) conflict(a netip.Addr, user bootsvc.MAC, now time.Time) string {
	l.isolate(a, user, now)
	return fmt.Sprintf("%s is used by %s, which did not get it from here; it is left alone for %v: look for a fixed address in the pool, or a second DHCP server", a, user, quarantine)
}

// isolate leaves an address alone for a while; user has it, 0 where that is not known. At most half of what can be given stays in
// quarantine, so that a machine that declines everything does not take the pool from all others.
func (l *leases) isolate(a netip.Addr, user bootsvc.MAC, now time.Time) {
	total := uint64(0)
	for i := range l.cfg.Subnets {
		for _, p := range l.cfg.Subnets[i].Pools {
			total += p.size()
		}
	}
	if uint64(l.bad) >= max(total/2, 1) {
		var oldest *lease
		for _, o := range l.byAddr {
			if o.State == stateDeclined && (oldest == nil || o.Until.Before(oldest.Until) || o.Until.Equal(oldest.Until) && o.Addr.Less(oldest.Addr)) {
				oldest = o
			}
		}
		l.drop(oldest)
	}
	n := lease{Addr: a, MAC: user, State: stateDeclined, Until: now.Add(quarantine)}
	l.put(n)
	l.keep(n)
}
