package nic

import "net"

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

// StateFile is where the lease is told to whoever hands the card over.
const StateFile = "/run/spate/network.json"
