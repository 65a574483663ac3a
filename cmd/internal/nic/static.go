package nic

import (
	"fmt"
	"net/netip"
	"strings"
)

// Static is an address of the kernel command line, as Documentation/admin-guide/nfs/nfsroot.rst writes it:
//
//	ip=CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF:DNS0:DNS1:NTP0
//
// Its zero value means DHCP.
type Static struct {
	Address  netip.Prefix
	Router   netip.Addr
	Hostname string
	// Device is the kernel's name of the card; empty: the one that PXE used. It may be there without an address.
	Device string
	DNS    []netip.Addr
}

// ParseStatic finds ip= on a kernel command line; the last one counts. A mistake is a sentence for the person before the
// machine; then DHCP is used.
func ParseStatic(line string) (s Static, mistake string) {
	for word := range strings.FieldsSeq(line) {
		if value, ok := strings.CutPrefix(word, "ip="); ok {
			var bad string
			if s, bad = parseStatic(value); bad != "" {
				mistake = fmt.Sprintf("%.80q on the kernel command line: %s; DHCP is used in its place", word, bad)
			} else {
				mistake = ""
			}
		}
	}
	return s, mistake
}

func parseStatic(value string) (s Static, bad string) {
	field := strings.Split(value, ":")
	if len(field) == 1 && !strings.Contains(value, ".") {
		return s, autoconf(value)
	}
	get := func(i int) string {
		if i < len(field) {
			return field[i]
		}
		return ""
	}
	if len(field) > 10 {
		return Static{}, "it has more than ten fields; write ip=CLIENT::GATEWAY:NETMASK:HOSTNAME:DEVICE"
	}
	s.Device = get(5)
	if strings.ContainsAny(s.Device, "/") || len(s.Device) > 15 {
		return Static{}, fmt.Sprintf("%.20q is no name of a card", s.Device)
	}
	if s.Hostname = plainName(get(4)); s.Hostname != get(4) {
		return Static{}, fmt.Sprintf("%.80q is no host name", get(4))
	}
	if get(0) == "" {
		if bad := autoconf(get(6)); bad != "" {
			return Static{}, bad
		}
		return s, ""
	}
	client, err := netip.ParseAddr(get(0))
	if a := address(client.AsSlice()); err != nil || !client.Is4() || !a.IsValid() {
		return Static{}, fmt.Sprintf("%.40q is no IPv4 address of a machine", get(0))
	}
	ones, bad := maskBits(client, get(3))
	if bad != "" {
		return Static{}, bad
	}
	s.Address = netip.PrefixFrom(client, ones)
	for _, f := range []struct {
		at    int
		store func(netip.Addr)
	}{{2, func(a netip.Addr) { s.Router = a }}, {7, s.addDNS}, {8, s.addDNS}} {
		text := get(f.at)
		if text == "" || text == "0.0.0.0" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil || !address(a.AsSlice()).IsValid() {
			return Static{}, fmt.Sprintf("%.40q is no IPv4 address", text)
		}
		f.store(a)
	}
	return s, ""
}

func (s *Static) addDNS(a netip.Addr) { s.DNS = append(s.DNS, a) }

// autoconf says what is wrong with a way of configuration. All that is not off is DHCP here.
func autoconf(way string) (bad string) {
	switch way {
	case "", "on", "any", "dhcp", "both":
		return ""
	case "off", "none":
		return "without an address the disk cannot be reached"
	default:
		return fmt.Sprintf("%.20q is not supported; write an address, or dhcp", way)
	}
}

// maskBits reads a network mask; without one the class of the address counts, as in the kernel.
func maskBits(client netip.Addr, text string) (ones int, bad string) {
	if text == "" {
		switch first := client.As4()[0]; {
		case first < 128:
			return 8, ""
		case first < 192:
			return 16, ""
		default:
			return 24, ""
		}
	}
	m, err := netip.ParseAddr(text)
	if err == nil && m.Is4() {
		b := m.As4()
		n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		for ones < 32 && n&(1<<(31-ones)) != 0 {
			ones++
		}
		if n<<ones == 0 && ones > 0 {
			return ones, ""
		}
	}
	return 0, fmt.Sprintf("%.40q is no network mask; write it as 255.255.255.0", text)
}

// lease is the address as if it had been leased for ever.
func (s Static) lease() Lease {
	return Lease{Address: s.Address, Router: s.Router, Hostname: s.Hostname, DNS: s.DNS}
}
