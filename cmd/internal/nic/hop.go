package nic

import (
	"net/netip"

	"github.com/spate-project/spate/stream/udp"
)

// way is how datagrams leave by the card.
type way struct {
	index int
	from  netip.Prefix // our address and its network
	lease Lease        // for its routes
}

// wayOf reads the way out of the kernel's state: the address of the lease as long as it is there, or when there is none, and
// otherwise the one that the system has set in its place.
func wayOf(lease Lease, s state) way {
	w := way{index: lease.Index, from: lease.Address, lease: lease}
	other := netip.Prefix{}
	for _, a := range s.addrs {
		switch {
		case a.index != lease.Index || !a.prefix.Addr().Is4():
		case a.prefix.Addr() == lease.Address.Addr():
			return w
		case !other.IsValid():
			other = a.prefix
		}
	}
	if other.IsValid() {
		w.from = other
	}
	return w
}

// hop is the next one toward a remote address: the longest route of the lease, the network of the card, or the router.
func (w way) hop(remote netip.Addr) (udp.Hop, bool) {
	h := udp.Hop{Index: w.index, Source: w.from.Addr(), Next: remote}
	if w.index == 0 || !w.from.IsValid() || !remote.Is4() {
		return udp.Hop{}, false
	}
	if w.from.Contains(remote) {
		return h, true
	}
	longest := -1
	for _, r := range w.lease.Routes {
		if r.To.Contains(remote) && r.To.Bits() > longest {
			longest = r.To.Bits()
			if h.Next = r.Via; !r.Via.IsValid() {
				h.Next = remote
			}
		}
	}
	if longest < 0 {
		h.Next = w.lease.Router
	}
	return h, h.Next.IsValid()
}

// Hop tells how a remote address is reached by the card, for whoever sends without the kernel's routes.
func (l *Link) Hop(remote netip.Addr) (udp.Hop, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.way.hop(remote)
}
