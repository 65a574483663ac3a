package nic

import (
	"net"
	"time"
)

// Want says which card is brought up, and how.
type Want struct {
	// Card is the MAC address of the card that PXE used; nil: every card that has a link is tried in turn.
	Card net.HardwareAddr
	// Static is the address of the command line; its zero value means DHCP.
	Static Static
	// Lease is that of the boot loader for Card; without an address there is none. It is used at once, and confirmed by its server soon.
	Lease Lease
	// ResolvConf is the file that gets the name servers, such as /etc/resolv.conf of the boot image; empty: none.
	ResolvConf string
	// StateFile is a file that always has the lease as JSON, such as StateFile; empty: none.
	StateFile string
}

// given is the lease that the card with this MAC address has without asking anybody; it has no address when there is none. Of that of the
// boot loader half of the time is left for what was loaded since, and for a link that took long: now is since the kernel's start.
func (w Want) given(mac string, now time.Duration) Lease {
	switch {
	case w.Static.Address.IsValid():
		return w.Static.lease()
	case w.Card != nil && mac == w.Card.String() && now < w.Lease.Renew:
		return w.Lease
	}
	return Lease{}
}

// StateFile is where the lease is told to whoever hands the card over.
const StateFile = "/run/spate/network.json"
