package parts

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"
)

// Card names a kind of PCI card. The zero value is none: no vendor has the number 0.
type Card struct{ Vendor, Device uint16 }

// String writes it as lspci does, such as 8086:100e.
func (c Card) String() string { return fmt.Sprintf("%04x:%04x", c.Vendor, c.Device) }

func (c Card) compare(o Card) int {
	return cmp.Or(cmp.Compare(c.Vendor, o.Vendor), cmp.Compare(c.Device, o.Device))
}

// busPCI is the bus type of PCI in iPXE's ${netX/busid}.
const busPCI = 1

// ParseBusID reads iPXE's ${netX/busid:hexhyp}, such as 01-1a-f4-10-00: the type of the bus, the vendor and the device (struct
// dhcp_netdev_desc of its include/ipxe/dhcp.h). A card on another bus, and whatever is written in another way, is none.
func ParseBusID(s string) (Card, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 5 || b[0] != busPCI || s != strings.ReplaceAll(fmt.Sprintf("% x", b), " ", "-") {
		return Card{}, false
	}
	c := Card{uint16(b[1])<<8 | uint16(b[2]), uint16(b[3])<<8 | uint16(b[4])}
	return c, plain(c.Vendor)
}

// plain tells whether a number is one that a vendor can have: empty slots answer with ones.
func plain(vendor uint16) bool { return vendor != 0 && vendor != 0xffff }
