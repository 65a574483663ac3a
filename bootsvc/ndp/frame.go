package ndp

import (
	"encoding/binary"
	"net/netip"

	"github.com/spate-project/spate/bootsvc"
)

const (
	ethernet = 14 // bytes of an Ethernet header
	ipv6     = 40 // bytes of an IPv6 header

	etherIPv6   = 0x86dd
	protoICMPv6 = 58
	hops        = 255 // what has passed a router has fewer

	solicitation  = 133 // type of ICMPv6
	advertisement = 134
	solicitBytes  = 8 // without options
	advertBytes   = 16

	optionSource = 1 // link-layer address of the sender
	optionPrefix = 3
	optionUnit   = 8 // bytes; options count their length in it
)

var (
	allRouters    = netip.MustParseAddr("ff02::2")
	allRoutersMAC = bootsvc.MAC{0x33, 0x33, 0, 0, 0, 2}
)

// message is a router solicitation or advertisement that is valid (RFC 4861 sections 6.1.1 and 6.1.2).
type message struct {
	from, to bootsvc.MAC // of the frame
	src, dst netip.Addr
	kind     byte // solicitation or advertisement
	// card is what the sender says its link-layer address is; 0 when it does not.
	card bootsvc.MAC
	// lifetime of an advertisement is in seconds. configures says that it gives prefixes, or that DHCPv6 does.
	lifetime   uint16
	configures bool
}

// parse reads a frame; false for what is not valid, and for anything else. It keeps no part of b.
func parse(b []byte) (m message, ok bool) {
	if len(b) < ethernet+ipv6+solicitBytes || binary.BigEndian.Uint16(b[12:]) != etherIPv6 {
		return m, false
	}
	m.to, m.from = bootsvc.MAC(b[:6]), bootsvc.MAC(b[6:12])
	ip := b[ethernet:]
	size := int(binary.BigEndian.Uint16(ip[4:]))
	if ip[0]>>4 != 6 || ip[6] != protoICMPv6 || ip[7] != hops || size < solicitBytes || size > len(ip)-ipv6 {
		return m, false
	}
	m.src, m.dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	body := ip[ipv6 : ipv6+size]
	if body[1] != 0 || checksum(ip[8:40], body) != 0 {
		return m, false
	}
	m.kind = body[0]
	switch {
	case m.kind == solicitation:
		if !m.options(body[solicitBytes:]) || m.src.IsUnspecified() && m.card != (bootsvc.MAC{}) {
			return m, false
		}
	case m.kind == advertisement && size >= advertBytes && m.src.IsLinkLocalUnicast():
		const managed, other = 0x80, 0x40
		m.configures = body[5]&(managed|other) != 0
		m.lifetime = binary.BigEndian.Uint16(body[6:])
		return m, m.options(body[advertBytes:])
	default:
		return m, false
	}
	return m, true
}

// options reads what follows the fixed part of a message; false when it is not valid.
func (m *message) options(b []byte) bool {
	for range maxOptions {
		if len(b) == 0 {
			return true
		}
		if len(b) < optionUnit || b[1] == 0 || len(b) < int(b[1])*optionUnit {
			return false
		}
		switch {
		case b[0] == optionSource:
			m.card = bootsvc.MAC(b[2:8])
		case b[0] == optionPrefix && m.kind == advertisement:
			m.configures = true
		}
		b = b[int(b[1])*optionUnit:]
	}
	return false
}

// appendFrame adds a frame to b. The checksum in body is filled in.
func appendFrame(b []byte, from, to bootsvc.MAC, src, dst netip.Addr, body []byte) []byte {
	b = append(append(b, to[:]...), from[:]...)
	b = binary.BigEndian.AppendUint16(b, etherIPv6)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, protoICMPv6, hops)
	at := len(b)
	s, d := src.As16(), dst.As16()
	b = append(append(b, s[:]...), d[:]...)
	body[2], body[3] = 0, 0
	binary.BigEndian.PutUint16(body[2:], checksum(b[at:at+32], body))
	return append(b, body...)
}

// appendEmpty adds the frame of an advertisement that says nothing: no router, no prefix, no DHCPv6, no value for anything else.
func appendEmpty(b []byte, from, to bootsvc.MAC, src, dst netip.Addr) []byte {
	return appendFrame(b, from, to, src, dst, []byte{advertBytes - 1: 0, 0: advertisement})
}

// appendQuestion adds the frame by which routers are asked to advertise themselves. It comes from nobody, so that they tell everybody.
func appendQuestion(b []byte, from bootsvc.MAC) []byte {
	return appendFrame(b, from, allRoutersMAC, netip.IPv6Unspecified(), allRouters, []byte{solicitBytes - 1: 0, 0: solicitation})
}

// checksum is that of ICMPv6 (RFC 4443 section 2.3) over both addresses and the message; 0 over a message that has its own.
func checksum(addresses, body []byte) uint16 {
	sum := uint32(len(body)) + protoICMPv6
	for _, b := range [][]byte{addresses, body} {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// made is the link-local address that a card has by itself (RFC 4291 appendix A).
func made(mac bootsvc.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}
