package dhcp

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// packet is what came in.
type packet struct {
	bytes []byte
	from  netip.AddrPort
	// broadcast tells that it was sent to everybody; boot that it came to port 4011, where boot servers are asked.
	broadcast, boot bool
}

// kind is what a packet asks (RFC 2131 section 4.3).
type kind int

const (
	kindDiscover kind = iota + 1
	kindSelect        // REQUEST that takes our offer
	kindOther         // REQUEST that takes another server's offer
	kindReboot        // REQUEST in state INIT-REBOOT
	kindRenew         // REQUEST in state RENEWING or REBINDING
	kindInform
	kindRelease
	kindDecline
	kindBoot // REQUEST or INFORM at port 4011: only the file is asked for
)

// ask is a packet that was understood.
type ask struct {
	asker
	kind   kind
	packet *dhcpv4.DHCPv4
	from   netip.AddrPort
	relay  netip.Addr // giaddr; not valid when no relay agent stands between
	subnet *Subnet    // nil in proxy mode
	// wanted is the address that the packet is about; not valid where it names none.
	wanted netip.Addr
	// server is the server that the packet names (option 54), identity how we name ourselves in the reply.
	server, identity netip.Addr
	broadcast        bool
}

// silence is the reason for giving no reply. problem tells that somebody may have to act, hush that nobody wants to know.
type silence struct {
	reason        string
	problem, hush bool
}

func quiet(format string, args ...any) *silence {
	return &silence{reason: fmt.Sprintf(format, args...)}
}

func hush(format string, args ...any) *silence {
	return &silence{reason: fmt.Sprintf(format, args...), hush: true}
}

// read understands a packet, or says why it gets no reply.
func (c *Config) read(in packet) (a ask, no *silence) {
	p, err := dhcpv4.FromBytes(in.bytes)
	if err != nil {
		return a, a.unread(in.bytes, err)
	}
	if len(p.ClientHWAddr) == 6 {
		a.asker = classify(p)
	}
	a.packet, a.from, a.broadcast = p, in.from, in.broadcast
	a.server, a.identity = ip(p.ServerIdentifier()), c.Addr
	switch {
	case p.OpCode != dhcpv4.OpcodeBootRequest:
		return a, hush("a reply is not answered")
	case p.HWType != iana.HWTypeEthernet || len(p.ClientHWAddr) != 6:
		return a, quiet("a hardware address of type %d with %d bytes is not Ethernet's", p.HWType, len(p.ClientHWAddr))
	case a.MAC[0]&1 != 0 || a.MAC == [6]byte{}:
		return a, quiet("%s is the MAC address of a group or of nobody", a.MAC)
	case p.HopCount > maxHops:
		return a, &silence{reason: fmt.Sprintf("the packet has passed %d relay agents, so they send it in circles", p.HopCount), problem: true}
	}
	if g := ip(p.GatewayIPAddr); g.IsValid() {
		a.relay = g
	}
	if no := a.setKind(c, in.boot); no != nil {
		return a, no
	}
	if c.Mode == ModeProxy || in.boot {
		return a, nil
	}
	return a, a.place(c)
}

// unread is the reason for a packet that cannot be read. Where its header is that of a machine that asks, the machine is named: else
// nobody would find out why it gets no answer.
func (a *ask) unread(b []byte, err error) *silence {
	const header, mac, cookie = 240, 28, 236 // RFC 2131 section 2
	asks := len(b) >= header && b[0] == byte(dhcpv4.OpcodeBootRequest) && b[1] == byte(iana.HWTypeEthernet) && int(b[2]) == len(a.MAC) && string(b[cookie:header]) == magicCookie
	if !asks {
		return hush("not a DHCP packet: %v", err)
	}
	copy(a.MAC[:], b[mac:])
	return &silence{reason: fmt.Sprintf("its packet of %d bytes is damaged, cut, or not as RFC 2131 wants it: %.80q", len(b), err.Error()), problem: true}
}

const magicCookie = "\x63\x82\x53\x63"

// setKind sorts the packet by its message type and, for a REQUEST, by what stands in it (RFC 2131 table 4).
func (a *ask) setKind(c *Config, boot bool) *silence {
	p := a.packet
	requested, client := ip(p.RequestedIPAddress()), ip(p.ClientIPAddr)
	if c.Mode == ModeServer {
		overridden(a, p)
	}
	switch t := p.MessageType(); t {
	case dhcpv4.MessageTypeDiscover:
		a.kind, a.wanted = kindDiscover, requested
		if boot {
			a.kind = kindBoot
		}
	case dhcpv4.MessageTypeRequest:
		switch {
		case boot:
			a.kind = kindBoot
		case a.server.IsValid() && a.server != a.identity:
			a.kind, a.wanted = kindOther, requested
		case a.server.IsValid():
			a.kind, a.wanted = kindSelect, requested
		case requested.IsValid():
			a.kind, a.wanted = kindReboot, requested
		default:
			a.kind, a.wanted = kindRenew, client
		}
		if !boot && !a.wanted.IsValid() {
			return quiet("a REQUEST that names no address")
		}
	case dhcpv4.MessageTypeInform:
		a.kind, a.wanted = kindInform, client
		if boot {
			a.kind = kindBoot
		}
	case dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline:
		if boot {
			return quiet("a %s at port %d, where nobody gives addresses", t, portBoot)
		}
		a.kind, a.wanted = kindRelease, client
		if t == dhcpv4.MessageTypeDecline {
			a.kind, a.wanted = kindDecline, requested
		}
	case dhcpv4.MessageTypeNone:
		return quiet("plain BOOTP without DHCP is not served")
	default:
		return hush("%v is not for servers", t)
	}
	return nil
}

// overridden takes the identity that a relay agent wants to see in place of ours (RFC 5107), so that renewals pass through it. Nobody renews
// with a proxy, and firmware asks it at port 4011 under the name that it gives itself, where no agent listens.
func overridden(a *ask, p *dhcpv4.DHCPv4) {
	if r := p.RelayAgentInfo(); a.relay.IsValid() && r != nil {
		if o := ip(r.Get(dhcpv4.ServerIdentifierOverrideSubOption)); o.IsValid() {
			a.identity = o
		}
	}
}

// place finds the subnet in which the machine is: the one that the relay agent names, or the one of this server's address. A
// machine that renews speaks to us directly from wherever it is.
func (a *ask) place(c *Config) *silence {
	at, where := c.Addr, "this server's own network"
	if a.relay.IsValid() {
		at, where = a.relay, "the network of relay agent "+a.relay.String()
		if r := a.packet.RelayAgentInfo(); r != nil {
			if l := ip(r.Get(dhcpv4.LinkSelectionSubOption)); l.IsValid() { // RFC 3527
				at = l
			}
		}
	} else if !a.broadcast && a.from.Addr() == a.wanted && (a.kind == kindRenew || a.kind == kindRelease || a.kind == kindInform) {
		at, where = a.wanted, "the network of "+a.wanted.String()
	}
	if a.subnet = c.subnet(at); a.subnet == nil {
		return &silence{reason: where + " is no configured subnet; add it to boot.subnets, or stop the relay agent there", problem: true}
	}
	return nil
}

func (c *Config) subnet(a netip.Addr) *Subnet {
	for i := range c.Subnets {
		if c.Subnets[i].Network.Contains(a) {
			return &c.Subnets[i]
		}
	}
	return nil
}

// ip gives an address of a packet; not valid when it is missing or 0.0.0.0.
func ip(b net.IP) netip.Addr {
	v4 := b.To4()
	if v4 == nil {
		return netip.Addr{}
	}
	a := netip.AddrFrom4([4]byte(v4))
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
