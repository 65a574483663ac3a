package probe

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/spate-project/spate/bootsvc"
)

// Kind is a kind of program that boots a machine.
type Kind int

// The kinds.
const (
	BIOS Kind = iota + 1
	UEFI
	UEFIHTTP
	IPXE
)

// Kinds are all of them, in the order in which they are told.
var Kinds = []Kind{BIOS, UEFI, UEFIHTTP, IPXE}

// String names it as administrators do.
func (k Kind) String() string {
	switch k {
	case BIOS:
		return "BIOS, PXE"
	case UEFI:
		return "UEFI x86-64, PXE"
	case UEFIHTTP:
		return "UEFI x86-64, HTTP boot"
	case IPXE:
		return "iPXE"
	default:
		return fmt.Sprintf("kind %d", int(k))
	}
}

// words are the kinds as programs read them.
var words = map[Kind]string{BIOS: "bios", UEFI: "uefi", UEFIHTTP: "uefi-http", IPXE: "ipxe"}

// MarshalText writes bios, uefi, uefi-http or ipxe.
func (k Kind) MarshalText() ([]byte, error) { return marshal(words, k) }

// UnmarshalText reads what MarshalText writes.
func (k *Kind) UnmarshalText(text []byte) error { return unmarshal(words, text, k) }

func marshal[T ~int](words map[T]string, v T) ([]byte, error) {
	if w, ok := words[v]; ok {
		return []byte(w), nil
	}
	return nil, fmt.Errorf("%d has no name", int(v))
}

func unmarshal[T ~int](words map[T]string, text []byte, to *T) error {
	for v, w := range words {
		if w == string(text) {
			*to = v
			return nil
		}
	}
	return fmt.Errorf("%.40q is none of these names", text)
}

// class is the vendor class that this kind sends, and that a server answers to have it listen.
func (k Kind) class() string {
	if k == UEFIHTTP {
		return "HTTPClient"
	}
	return "PXEClient"
}

func (k Kind) arch() (arch iana.Arch, vendor string) {
	switch k {
	case UEFI:
		return 7, "PXEClient:Arch:00007:UNDI:003016"
	case UEFIHTTP:
		return 16, "HTTPClient:Arch:00016:UNDI:003016"
	default:
		return 0, "PXEClient:Arch:00000:UNDI:002001"
	}
}

// requested are the options that PXE firmware asks for.
var requested = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName, dhcpv4.OptionDomainName,
	dhcpv4.OptionVendorSpecificInformation, dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionServerIdentifier, dhcpv4.OptionClassIdentifier,
	dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName, dhcpv4.OptionClientMachineIdentifier, dhcpv4.GenericOptionCode(175),
}

// Discover makes the DISCOVER that this kind sends. The answer is asked for by broadcast, because no card listens for mac.
func (k Kind) Discover(mac bootsvc.MAC, xid [4]byte) *dhcpv4.DHCPv4 {
	p := k.message(dhcpv4.MessageTypeDiscover, mac, xid)
	p.SetBroadcast()
	return p
}

// bootRequest makes the REQUEST by which this kind asks a boot server at port 4011 for its file. It is for no address: own is what
// the asker has already.
func (k Kind) bootRequest(mac bootsvc.MAC, xid [4]byte, own netip.Addr) *dhcpv4.DHCPv4 {
	p := k.message(dhcpv4.MessageTypeRequest, mac, xid)
	p.ClientIPAddr = net.IP(own.AsSlice())
	return p
}

func (k Kind) message(t dhcpv4.MessageType, mac bootsvc.MAC, xid [4]byte) *dhcpv4.DHCPv4 {
	arch, vendor := k.arch()
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: mac[:], TransactionID: xid, NumSeconds: 4,
		Options: dhcpv4.Options{},
	}
	uuid := append([]byte{0, 's', 'p', 'a', 't', 'e', '-', 'p', 'r', 'o', 'b'}, mac[:]...)
	for _, o := range []dhcpv4.Option{
		dhcpv4.OptMessageType(t), dhcpv4.OptMaxMessageSize(1472), dhcpv4.OptParameterRequestList(requested...),
		dhcpv4.OptClassIdentifier(vendor), dhcpv4.OptClientArch(arch),
		dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 16}), dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, uuid),
	} {
		p.UpdateOption(o)
	}
	if k == IPXE {
		p.UpdateOption(dhcpv4.OptUserClass("iPXE"))
		// Its features: HTTP, bzImage, menus.
		p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(175), []byte{19, 1, 1, 24, 1, 1, 39, 1, 1}))
	}
	return p
}

// Offer is what somebody answered.
type Offer struct {
	// Kind is how was asked.
	Kind Kind `json:"kind"`
	// Server is who answered: the server identifier, or the sender where there is none.
	Server netip.Addr `json:"server"`
	// Address is the address that is offered; not valid in an offer of a proxyDHCP server.
	Address netip.Addr `json:"address"`
	// Network is the network of Address, as its mask says.
	Network netip.Prefix `json:"network"`
	// File is the boot file, From the server to load it from; both may be empty.
	File string `json:"file"`
	From string `json:"from"`
	// Class is the vendor class that the server repeats.
	Class string `json:"class"`
	// NoProxy tells iPXE not to wait for a proxyDHCP server.
	NoProxy bool `json:"noProxy"`
	// Boot tells that this came from port 4011.
	Boot bool `json:"boot"`
}

// parseOffer reads an answer. Text in it is cut to what a line can hold.
func parseOffer(k Kind, from netip.Addr, b []byte) (o Offer, xid [4]byte, ok bool) {
	p, err := dhcpv4.FromBytes(b)
	if err != nil || p.OpCode != dhcpv4.OpcodeBootReply {
		return o, xid, false
	}
	if t := p.MessageType(); t != dhcpv4.MessageTypeOffer && t != dhcpv4.MessageTypeAck {
		return o, xid, false
	}
	o = Offer{Kind: k, Server: from, Boot: p.MessageType() == dhcpv4.MessageTypeAck, Class: text(p.ClassIdentifier())}
	if a, ok := addr(p.ServerIdentifier()); ok {
		o.Server = a
	}
	if a, ok := addr(p.YourIPAddr); ok && !o.Boot {
		o.Address = a
		if ones, bits := p.SubnetMask().Size(); bits == 32 {
			o.Network = netip.PrefixFrom(a, ones).Masked()
		}
	}
	if o.File = text(p.BootFileNameOption()); o.File == "" {
		o.File = text(p.BootFileName)
	}
	if a, ok := addr(p.ServerIPAddr); ok {
		o.From = a.String()
	} else if o.From = text(p.TFTPServerName()); o.From == "" {
		o.From = text(p.ServerHostName)
	}
	for rest := p.Options.Get(dhcpv4.GenericOptionCode(175)); len(rest) >= 3; {
		n := int(rest[1])
		if 2+n > len(rest) {
			break
		}
		o.NoProxy = o.NoProxy || rest[0] == 176 && n == 1 && rest[2] != 0
		rest = rest[2+n:]
	}
	return o, p.TransactionID, true
}

func addr(b net.IP) (netip.Addr, bool) {
	v4 := b.To4()
	if v4 == nil || v4.IsUnspecified() {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(v4)), true
}

// text makes a string of a packet fit for a terminal.
func text(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}
