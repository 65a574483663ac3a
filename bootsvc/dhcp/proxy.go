package dhcp

import (
	"fmt"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/spate-project/spate/bootsvc"
)

// decideBoot answers those who want a boot file alone: in proxy mode, and in both modes at port 4011, where firmware asks the server
// whose offer it has taken (PXE 2.1 section 2.2.5; EDK2 calls it BINL).
//
// At port 67 a proxy speaks only once: a DISCOVER gets an offer without an address. The REQUEST that follows is for the DHCP server,
// which offered the address; the firmware keeps the proxy's offer and then loads its file, or asks at port 4011.
func (c *Config) decideBoot(a ask, e bootsvc.Entry, file, why string) decision {
	switch {
	case !a.boots():
		return decision{reason: "it does not boot from the network, and addresses are another server's business"}
	case file == "":
		return decision{reason: why, problem: !e.Silent}
	case a.kind == kindBoot:
		t := dhcpv4.MessageTypeAck
		if a.packet.MessageType() == dhcpv4.MessageTypeDiscover {
			t = dhcpv4.MessageTypeOffer
		}
		r := c.reply(a, t)
		r.ClientIPAddr = a.packet.ClientIPAddr
		c.addBoot(r, a, file)
		return decision{reply: c.fit(a, r), to: c.target(a, r), reason: fmt.Sprintf("told boot file %s at port %d (%s)", file, portBoot, why)}
	case a.kind == kindDiscover:
		r := c.reply(a, dhcpv4.MessageTypeOffer)
		c.addBoot(r, a, file)
		return decision{reply: c.fit(a, r), to: c.target(a, r), reason: fmt.Sprintf("offered boot file %s beside another server's address (%s)", file, why)}
	default:
		return decision{reason: "the other DHCP server answers this"}
	}
}
