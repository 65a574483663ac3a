package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/spate-project/spate/bootsvc"
)

// The ports of DHCP, and of PXE's boot servers.
const (
	portServer = 67
	portClient = 68
	portBoot   = 4011
)

// target is where a reply goes.
type target struct {
	addr netip.AddrPort
	// direct tells that the machine has no address yet and does not answer ARP: the frame goes to mac.
	direct bool
	mac    bootsvc.MAC
}

// decision is what becomes of a packet: a reply, or silence when reply is nil; and the reason as the end of a sentence.
type decision struct {
	reply  *dhcpv4.DHCPv4
	to     target
	reason string
	// problem tells that somebody may have to act.
	problem bool
}

// decide makes the reply to an ask: pure. The answer is what the leases say of the machine's address; it is not looked at in proxy
// mode, at port 4011, and for INFORM.
func (c *Config) decide(a ask, e bootsvc.Entry, ans answer) decision {
	file, why := "", ""
	switch {
	case !a.boots():
	case e.Silent:
		why = "no boot file: " + e.Why
	default:
		file, why = bootsvc.FirstFile(a.Client, e, c.Server)
		if e.Refusal != "" && file != "" {
			why += "; it may not boot, and iPXE shows why: " + e.Refusal
		}
	}
	switch {
	case a.kind == kindBoot || c.Mode == ModeProxy:
		return c.decideBoot(a, e, file, why)
	case a.kind == kindInform:
		d := c.answerInform(a, e, file)
		d.reason = join(d.reason, why)
		return d
	case ans.verdict == verdictSilent:
		return decision{reason: ans.why, problem: ans.problem}
	case ans.verdict == verdictRefuse && a.kind == kindDiscover:
		return decision{reason: ans.why, problem: ans.problem}
	case ans.verdict == verdictRefuse:
		r := c.reply(a, dhcpv4.MessageTypeNak)
		r.UpdateOption(dhcpv4.OptMessage(cut(ans.why, 200)))
		r.SetBroadcast() // a relay agent must broadcast it too (RFC 2131 section 4.3.2)
		return decision{reply: c.fit(a, r), to: c.target(a, r), reason: "refused: " + ans.why, problem: ans.problem}
	}
	t, verb := dhcpv4.MessageTypeAck, "given"
	if a.kind == kindDiscover {
		t, verb = dhcpv4.MessageTypeOffer, "offered"
	}
	r := c.reply(a, t)
	r.YourIPAddr = netip4(ans.addr)
	if a.kind == kindRenew {
		r.ClientIPAddr = a.packet.ClientIPAddr
	}
	c.addLease(r, a.subnet)
	c.addNetwork(r, a.subnet, e)
	c.addBoot(r, a, file)
	d := decision{reply: c.fit(a, r), to: c.target(a, r), problem: ans.problem || a.boots() && file == "" && !e.Silent}
	d.reason = join(fmt.Sprintf("%s %s (%s)", verb, ans.addr, ans.why), boots(file, why))
	return d
}

func boots(file, why string) string {
	if file == "" {
		return why
	}
	return "with boot file " + file + " (" + why + ")"
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + ", " + b
}

// answerInform gives a machine that has an address everything else.
func (c *Config) answerInform(a ask, e bootsvc.Entry, file string) decision {
	if !a.wanted.IsValid() || !a.subnet.Network.Contains(a.wanted) {
		return decision{reason: fmt.Sprintf("an INFORM from %s, which is no address of %s", a.wanted, a.subnet.Network)}
	}
	r := c.reply(a, dhcpv4.MessageTypeAck)
	r.ClientIPAddr = a.packet.ClientIPAddr
	c.addNetwork(r, a.subnet, e)
	c.addBoot(r, a, file)
	return decision{reply: c.fit(a, r), to: c.target(a, r), reason: "told the network's settings"}
}

// reply starts one: what each has.
func (c *Config) reply(a ask, t dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	p := a.packet
	r := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: iana.HWTypeEthernet, TransactionID: p.TransactionID, Flags: p.Flags & 0x8000,
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: p.GatewayIPAddr,
		ClientHWAddr: p.ClientHWAddr, Options: dhcpv4.Options{},
	}
	r.UpdateOption(dhcpv4.OptMessageType(t))
	r.UpdateOption(dhcpv4.OptServerIdentifier(netip4(a.identity)))
	echo(r, p, dhcpv4.OptionClientIdentifier, 255)      // RFC 6842
	echo(r, p, dhcpv4.OptionRelayAgentInformation, 255) // RFC 3046
	return r
}

// echo copies an option of the packet, if it has one of a reasonable length.
func echo(r, p *dhcpv4.DHCPv4, code dhcpv4.OptionCode, most int) {
	if b := p.Options.Get(code); len(b) > 0 && len(b) <= most {
		r.UpdateOption(dhcpv4.OptGeneric(code, b))
	}
}

func netip4(a netip.Addr) net.IP {
	if !a.Is4() {
		return net.IPv4zero
	}
	return net.IP(a.AsSlice())
}

// addLease says for how long. The times of renewal are RFC 2131's, section 4.4.5.
func (c *Config) addLease(r *dhcpv4.DHCPv4, s *Subnet) {
	r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(s.Lease))
	r.UpdateOption(dhcpv4.OptRenewTimeValue((s.Lease / 2).Truncate(time.Second)))
	r.UpdateOption(dhcpv4.OptRebindingTimeValue((s.Lease * 7 / 8).Truncate(time.Second)))
}

func (c *Config) addNetwork(r *dhcpv4.DHCPv4, s *Subnet, e bootsvc.Entry) {
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(s.Network.Bits(), 32)))
	r.UpdateOption(dhcpv4.OptBroadcastAddress(netip4(s.broadcast())))
	if s.Router.IsValid() {
		r.UpdateOption(dhcpv4.OptRouter(netip4(s.Router)))
	}
	if len(s.DNS) > 0 {
		all := make([]net.IP, len(s.DNS))
		for i, a := range s.DNS {
			all[i] = netip4(a)
		}
		r.UpdateOption(dhcpv4.OptDNS(all...))
	}
	if s.Domain != "" {
		r.UpdateOption(dhcpv4.OptDomainName(s.Domain))
	}
	if e.Hostname != "" {
		r.UpdateOption(dhcpv4.OptHostName(cut(e.Hostname, 255)))
	}
}

// The part of option 43 that firmware wants (PXE 2.1, table 2-1): "load the boot file that stands here, show no menu, look for no
// other boot server". Sub-option 71 is the item of a menu, which a boot server repeats.
const (
	pxeControl   = 6
	pxeBootItem  = 71
	pxeUseFile   = 8
	pxeEnd       = 255
	pxeItemBytes = 4
)

// addBoot tells the boot file, in the header and as options: there is firmware that reads only the one or the other.
func (c *Config) addBoot(r *dhcpv4.DHCPv4, a ask, file string) {
	if !a.boots() {
		return
	}
	echo(r, a.packet, dhcpv4.OptionClientMachineIdentifier, 17) // PXE 2.1 section 2.2.3
	if a.class == classIPXE && c.Mode == ModeServer {
		// This answer is all there is: iPXE need not wait 3 s for a proxyDHCP server.
		r.UpdateOption(dhcpv4.OptGeneric(optionIPXE, []byte{ipxeNoProxy, 1, 1}))
	}
	if file == "" {
		return
	}
	server := c.Server.Addr.String()
	r.ServerIPAddr, r.ServerHostName = netip4(c.Server.Addr), server
	r.UpdateOption(dhcpv4.OptTFTPServerName(server))
	r.UpdateOption(dhcpv4.OptBootFileName(file))
	if len(file) < 128 {
		r.BootFileName = file
	}
	switch {
	case a.class == classHTTP:
		r.UpdateOption(dhcpv4.OptClassIdentifier(vendorHTTP))
	case a.class == classPXE || c.Mode == ModeProxy: // iPXE too knows a proxyDHCP server by this
		r.UpdateOption(dhcpv4.OptClassIdentifier(vendorPXE))
	}
	if a.class == classPXE && c.control(a) {
		vendor := []byte{pxeControl, 1, pxeUseFile}
		if item := bootItem(a.packet); item != nil {
			vendor = append(append(vendor, pxeBootItem, pxeItemBytes), item...)
		}
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, append(vendor, pxeEnd)))
	}
}

// control tells whether option 43 goes with the file. Some UEFI firmware ignores a proxyDHCP offer with it; all of them ask at port
// 4011 when it is missing, and take the file from there.
func (c *Config) control(a ask) bool {
	return c.Mode == ModeServer || a.kind == kindBoot || a.Arch == bootsvc.ArchBIOS
}

// bootItem finds sub-option 71 of option 43.
func bootItem(p *dhcpv4.DHCPv4) []byte {
	for rest := p.Options.Get(dhcpv4.OptionVendorSpecificInformation); len(rest) >= 2; {
		code, n := rest[0], int(rest[1])
		switch {
		case code == pxeEnd:
			return nil
		case code == 0:
			rest = rest[1:]
			continue
		case 2+n > len(rest):
			return nil
		case code == pxeBootItem && n == pxeItemBytes:
			return rest[2 : 2+n]
		}
		rest = rest[2+n:]
	}
	return nil
}

// target says where a reply goes (RFC 2131 section 4.1).
func (c *Config) target(a ask, r *dhcpv4.DHCPv4) target {
	client := ip(r.ClientIPAddr)
	switch {
	case a.kind == kindBoot:
		return target{addr: a.from}
	case a.relay.IsValid():
		return target{addr: netip.AddrPortFrom(a.relay, portServer)}
	case r.MessageType() == dhcpv4.MessageTypeNak:
		return everybody
	case client.IsValid():
		return target{addr: netip.AddrPortFrom(client, portClient)}
	case r.IsBroadcast() || !ip(r.YourIPAddr).IsValid():
		return everybody
	default:
		return target{addr: netip.AddrPortFrom(ip(r.YourIPAddr), portClient), direct: true, mac: a.MAC}
	}
}

var everybody = target{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), portClient), direct: true,
	mac: bootsvc.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}

// dispensable are options in the order in which they are left out of a reply that is too long for its client.
var dispensable = []dhcpv4.OptionCode{
	dhcpv4.OptionHostName, dhcpv4.OptionDomainName, dhcpv4.OptionBroadcastAddress, dhcpv4.OptionMessage, dhcpv4.OptionClientMachineIdentifier,
	dhcpv4.OptionTFTPServerName, dhcpv4.OptionDomainNameServer, dhcpv4.OptionClientIdentifier, dhcpv4.OptionRelayAgentInformation,
	dhcpv4.OptionRouter,
}

// fit leaves out what the client has no room for: it says so in option 57, which counts the headers of IP and UDP too.
func (c *Config) fit(a ask, r *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	most := minMessage
	if n, err := a.packet.MaxMessageSize(); err == nil {
		most = min(max(int(n), minMessage), maxMessage)
	}
	for _, code := range dispensable {
		if len(r.ToBytes()) <= most-headers {
			break
		}
		r.DeleteOption(code)
	}
	return r
}
