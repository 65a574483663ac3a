package main

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spate-project/spate/bootsvc"
)

// neighbours is where Linux tells who has which IPv4 address on the networks of this machine.
const neighbours = "/proc/net/arp"

// macOf finds the machine that has an address: who has just sent a packet is in the table, unless a router is between.
func macOf(a netip.Addr) (bootsvc.MAC, bool) {
	f, err := os.Open(neighbours)
	if err != nil {
		return bootsvc.MAC{}, false // no Linux; what is loaded is told without a name
	}
	defer f.Close()
	return findNeighbour(f, a.Unmap())
}

// findNeighbour looks an address up in the table as Linux prints it: address, type, flags, MAC address, mask, card.
func findNeighbour(table io.Reader, a netip.Addr) (bootsvc.MAC, bool) {
	const ethernet = "0x1"
	for lines := bufio.NewScanner(table); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) < 4 || w[0] != a.String() || w[1] != ethernet {
			continue
		}
		if m, err := bootsvc.ParseMAC(w[3]); err == nil && m != (bootsvc.MAC{}) { // zero: asked for, and nobody has answered
			return m, true
		}
	}
	return bootsvc.MAC{}, false
}
