package link

import (
	"encoding/binary"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC = [6]byte

// Broadcast is everybody on the network.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	ethernet  = 14 // bytes of an Ethernet header
	ipv4      = 20 // bytes of an IPv4 header without options
	udp       = 8
	arp       = 28
	protoUDP  = 17
)

// Datagram is a UDP datagram in an Ethernet frame.
type Datagram struct {
	SrcMAC, DstMAC MAC
	Src, Dst       netip.AddrPort
	Payload        []byte
}

// Append adds the frame to b. Both addresses must be IPv4, the payload at most 1,472 bytes.
func (d Datagram) Append(b []byte) []byte {
	b = append(b, d.DstMAC[:]...)
	b = append(b, d.SrcMAC[:]...)
	b = binary.BigEndian.AppendUint16(b, etherIPv4)
	src, dst := d.Src.Addr().As4(), d.Dst.Addr().As4()
	ip := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4+udp+len(d.Payload)))
	b = append(b, 0, 0, 0x40, 0, 64, protoUDP, 0, 0) // identification 0, don't fragment, 64 hops
	b = append(b, src[:]...)
	b = append(b, dst[:]...)
	binary.BigEndian.PutUint16(b[ip+10:], ^fold(sum(0, b[ip:])))
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, d.Src.Port())
	b = binary.BigEndian.AppendUint16(b, d.Dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(udp+len(d.Payload)))
	b = append(b, 0, 0)
	b = append(b, d.Payload...)
	// The checksum covers addresses, protocol and length too (RFC 768); 0 would mean that there is none.
	c := ^fold(sum(sum(protoUDP+uint32(udp+len(d.Payload)), b[ip+12:ip+20]), b[at:]))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[at+6:], c)
	return b
}

func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// ParseDatagram reads a frame that holds a whole UDP datagram over IPv4; false for any other. Payload is part of b. The checksum of
// UDP is not looked at: cards fill it in after the kernel has shown the frame.
func ParseDatagram(b []byte) (d Datagram, ok bool) {
	if len(b) < ethernet+ipv4+udp || binary.BigEndian.Uint16(b[12:]) != etherIPv4 {
		return d, false
	}
	copy(d.DstMAC[:], b)
	copy(d.SrcMAC[:], b[6:])
	b = b[ethernet:]
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // more fragments, or an offset
	if b[0]>>4 != 4 || head < ipv4 || b[9] != protoUDP || fragment != 0 || total < head+udp || total > len(b) {
		return d, false
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	b = b[head:total]
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size < udp || size > len(b) {
		return d, false
	}
	d.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
	d.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	d.Payload = b[udp:size]
	return d, true
}

// Claim is what an ARP packet says of its sender: this card uses this address.
type Claim struct {
	MAC  MAC
	Addr netip.Addr
}

// AppendQuestion adds the frame of an ARP probe to b: who has addr? It names no address of the asker, so that nobody learns one
// from it (RFC 5227 section 2.1.1).
func AppendQuestion(b []byte, asker MAC, addr netip.Addr) []byte {
	a := addr.As4()
	b = append(b, Broadcast[:]...)
	b = append(b, asker[:]...)
	b = binary.BigEndian.AppendUint16(b, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, lengths, request
	b = append(b, asker[:]...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, make([]byte, 6)...)
	return append(b, a[:]...)
}

// ParseClaim reads an ARP frame that says who uses an address; false for any other, and for probes.
func ParseClaim(b []byte) (c Claim, ok bool) {
	if len(b) < ethernet+arp || binary.BigEndian.Uint16(b[12:]) != etherARP {
		return c, false
	}
	b = b[ethernet:]
	if [6]byte(b[:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return c, false
	}
	copy(c.MAC[:], b[8:])
	c.Addr = netip.AddrFrom4([4]byte(b[14:18]))
	return c, !c.Addr.IsUnspecified() && c.MAC != MAC{}
}
