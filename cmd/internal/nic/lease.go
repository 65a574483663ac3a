package nic

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is what a card was given, as JSON for a restarted agent. Times are CLOCK_BOOTTIME since the kernel's start, so that
// it is of no use after a reset.
type Lease struct {
	Index   int          `json:"index"`
	Name    string       `json:"name"`
	MAC     string       `json:"mac"`
	Address netip.Prefix `json:"address"`
	// Router may be invalid: then everything is on the same network, or behind Routes.
	Router   netip.Addr   `json:"router"`
	Routes   []Route      `json:"routes,omitempty"`
	DNS      []netip.Addr `json:"dns,omitempty"`
	Domain   string       `json:"domain,omitempty"`
	Search   []string     `json:"search,omitempty"`
	Hostname string       `json:"hostname,omitempty"`
	MTU      int          `json:"mtu,omitempty"`
	// Server is the DHCP server; it is invalid for an address of the command line.
	Server netip.Addr `json:"server"`
	// Since is when the lease was asked for; Renew, Rebind and Valid count from there. Valid 0: for ever.
	Since  time.Duration `json:"since"`
	Renew  time.Duration `json:"renew,omitempty"`
	Rebind time.Duration `json:"rebind,omitempty"`
	Valid  time.Duration `json:"valid,omitempty"`
	// Unconfirmed says that the boot loader has got the lease, and that the server was not asked since.
	Unconfirmed bool `json:"unconfirmed,omitempty"`
}

// Route is a route of DHCP option 121. An invalid Via means directly on the card.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via"`
}

// String is the line of the console.
func (l Lease) String() string {
	how := "from the kernel command line"
	if l.Server.IsValid() {
		how = fmt.Sprintf("from %s (DHCP)", l.Server)
	}
	if l.Unconfirmed {
		how = fmt.Sprintf("from %s (DHCP, of the boot loader)", l.Server)
	}
	return fmt.Sprintf("%s %s: %s %s", l.Name, l.MAC, l.Address, how)
}

func (l Lease) expires() time.Duration { return l.Since + l.Valid }

// fromACK reads what a server gives. The card's fields are left alone.
func fromACK(p *dhcpv4.DHCPv4, asked time.Duration) Lease {
	l := Lease{Since: asked, Server: address(p.ServerIdentifier())}
	mask := p.SubnetMask()
	if mask == nil {
		mask = p.YourIPAddr.DefaultMask()
	}
	ones, _ := mask.Size()
	l.Address = netip.PrefixFrom(address(p.YourIPAddr), ones)
	for _, r := range p.ClasslessStaticRoute() {
		l.route(r)
	}
	// A server that gives option 121 means it in place of option 3 (RFC 3442).
	if routers := p.Router(); len(p.Options.Get(dhcpv4.OptionClasslessStaticRoute)) == 0 && len(routers) > 0 {
		l.Router = address(routers[0])
	}
	for _, ip := range p.DNS() {
		if a := address(ip); a.IsValid() && len(l.DNS) < mostServers {
			l.DNS = append(l.DNS, a)
		}
	}
	l.Hostname, l.Domain = plainName(p.HostName()), plainName(p.DomainName())
	if s := p.DomainSearch(); s != nil {
		for _, name := range s.Labels {
			if name = plainName(name); name != "" && len(l.Search) < mostServers {
				l.Search = append(l.Search, name)
			}
		}
	}
	if b := p.Options.Get(dhcpv4.OptionInterfaceMTU); len(b) == 2 {
		if n := int(b[0])<<8 | int(b[1]); n >= leastMTU {
			l.MTU = n
		}
	}
	l.times(p.IPAddressLeaseTime(standardLease), p.IPAddressRenewalTime(0), p.IPAddressRebindingTime(0))
	return l
}

func (l *Lease) route(r *dhcpv4.Route) {
	if r == nil || r.Dest == nil || len(l.Routes) >= mostRoutes {
		return
	}
	ones, bits := r.Dest.Mask.Size()
	to, via := address(r.Dest.IP), address(r.Router)
	switch {
	case bits != 32 || !to.IsValid() && ones > 0:
	case ones == 0:
		l.Router = via
	default:
		l.Routes = append(l.Routes, Route{To: netip.PrefixFrom(to, ones).Masked(), Via: via})
	}
}

// times takes the times of a lease; unlimited ones are 0.
func (l *Lease) times(valid, renew, rebind time.Duration) {
	const unlimited = 0xffffffff * time.Second
	if valid >= unlimited {
		return
	}
	valid = max(valid, time.Second)
	if rebind <= 0 || rebind >= valid {
		rebind = valid - valid/8
	}
	if renew <= 0 || renew >= rebind {
		renew = min(valid/2, rebind/7*4)
	}
	l.Valid, l.Renew, l.Rebind = valid, renew, rebind
}

// ParseLease finds the lease of the boot loader on a kernel command line, as its script writes it behind the card: the address, and in
// hexadecimal the options of DHCP (RFC 2132) that the server gave with it.
//
//	BOOTIF=CARD … spate.lease=ADDRESS,CODE:HEX,CODE:HEX…
//
// One that stands before the card is not the script's: somebody has sealed the command line of a running machine with a version. A lease
// is taken whole or not at all, and then has no address: a kernel cuts a command line that is too long for it. Its time counts from the
// kernel's start.
func ParseLease(line string) (l Lease) {
	for word := range strings.FieldsSeq(line) {
		switch name, value, _ := strings.Cut(word, "="); name {
		case "BOOTIF":
			l = Lease{}
		case "spate.lease":
			l = parseLease(value)
		}
	}
	return l
}

func parseLease(value string) Lease {
	first, rest, _ := strings.Cut(value, ",")
	ip, err := netip.ParseAddr(first)
	if err != nil || !ip.Is4() {
		return Lease{}
	}
	p := &dhcpv4.DHCPv4{YourIPAddr: ip.AsSlice(), Options: dhcpv4.Options{}}
	for part := range strings.SplitSeq(rest, ",") {
		number, text, ok := strings.Cut(part, ":")
		code, err := strconv.ParseUint(number, 10, 8)
		content, bad := hex.DecodeString(text)
		if !ok || err != nil || bad != nil {
			return Lease{}
		}
		if len(content) > 0 { // else the server did not give it
			p.Options[uint8(code)] = content
		}
	}
	// The script ends with the server: with it nothing was cut off.
	if usable(p) != "" || p.SubnetMask() == nil || p.IPAddressLeaseTime(0) == 0 {
		return Lease{}
	}
	l := fromACK(p, 0)
	if l.Valid == 0 {
		return Lease{} // for ever: nothing would be asked for
	}
	l.Unconfirmed = true
	return l
}

// address is a unicast IPv4 address, or an invalid one.
func address(ip []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !ok || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}
	}
	return a
}

// plainName is a host or domain name, or nothing when there is anything in it that a shell or a file could read otherwise.
func plainName(s string) string {
	s = strings.TrimRight(s, ".\x00")
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}
	if len(s) > mostName || strings.HasPrefix(s, "-") || strings.ContainsFunc(s, odd) {
		return ""
	}
	return s
}

// usable says what is wrong with an answer, or nothing.
func usable(p *dhcpv4.DHCPv4) string {
	if !address(p.YourIPAddr).IsValid() {
		return fmt.Sprintf("gives no usable address (%s)", p.YourIPAddr)
	}
	if m := p.SubnetMask(); m != nil {
		if ones, bits := m.Size(); bits != 32 || ones < 1 {
			return fmt.Sprintf("gives a network mask that is none (%s)", m)
		}
	}
	if !address(p.ServerIdentifier()).IsValid() {
		return "does not say who it is"
	}
	return ""
}

// resolvConf is the content of resolv.conf(5), nil when there are no name servers.
func (l Lease) resolvConf() []byte {
	if len(l.DNS) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("# by spate-target, " + l.String() + "\n")
	search := slices.Clone(l.Search)
	if len(search) == 0 && l.Domain != "" {
		search = []string{l.Domain}
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	for _, a := range l.DNS {
		b.WriteString("nameserver " + a.String() + "\n")
	}
	return []byte(b.String())
}
