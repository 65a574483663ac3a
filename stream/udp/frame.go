package udp

import (
	"encoding/binary"
	"net/netip"
)

// Sizes and fields of IPv4 (RFC 791), UDP (RFC 768) and ARP over Ethernet (RFC 826), in bytes.
const (
	ipHeader     = 20
	udpHeader    = 8
	frameHeader  = ipHeader + udpHeader
	arpSize      = 28
	ipDF         = 0x4000
	ipFragment   = 0x3fff // more fragments, and the offset
	ipTTL        = 64
	protocolUDP  = 17
	arpRequest   = 1
	arpReply     = 2
	protocolIPv4 = 0x0800
)

// putFrame writes the IPv4 and UDP headers of a datagram in front of its payload: frame is both together.
func putFrame(frame []byte, from, to netip.AddrPort) {
	source, target := from.Addr().As4(), to.Addr().As4()
	ip, dgram := frame[:ipHeader], frame[ipHeader:]
	clear(ip)
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(len(frame)))
	binary.BigEndian.PutUint16(ip[6:], ipDF)
	ip[8], ip[9] = ipTTL, protocolUDP
	copy(ip[12:], source[:])
	copy(ip[16:], target[:])
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip)))

	binary.BigEndian.PutUint16(dgram[0:], from.Port())
	binary.BigEndian.PutUint16(dgram[2:], to.Port())
	binary.BigEndian.PutUint16(dgram[4:], uint16(len(dgram)))
	binary.BigEndian.PutUint16(dgram[6:], 0)
	pseudo := sum(sum(protocolUDP+uint32(len(dgram)), ip[12:20]), dgram)
	check := ^fold(pseudo)
	if check == 0 {
		check = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(dgram[6:], check)
}

// parseFrame finds the payload of a datagram, which aliases frame. Its checksums are not looked at: the card has, or the
// datagram never left this machine; and what is not whole does not open under its seal.
func parseFrame(frame []byte) (from, to netip.AddrPort, payload []byte, ok bool) {
	if len(frame) < frameHeader || frame[0]>>4 != 4 || frame[9] != protocolUDP {
		return from, to, nil, false
	}
	header, total := int(frame[0]&15)*4, int(binary.BigEndian.Uint16(frame[2:]))
	if header < ipHeader || total > len(frame) || total < header+udpHeader || binary.BigEndian.Uint16(frame[6:])&ipFragment != 0 {
		return from, to, nil, false
	}
	dgram := frame[header:total]
	length := int(binary.BigEndian.Uint16(dgram[4:]))
	if length < udpHeader || length > len(dgram) {
		return from, to, nil, false
	}
	from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(frame[12:16])), binary.BigEndian.Uint16(dgram[0:]))
	to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(frame[16:20])), binary.BigEndian.Uint16(dgram[2:]))
	return from, to, dgram[udpHeader:length], true
}

// sum adds the 16-bit words of b, which is a part of a sum over an even number of bytes unless it is the last.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// fold makes a sum of 16 bits: 64 KiB of words do not overflow the 32.
func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// putARP writes a request: who has target?
func putARP(b []byte, mac [6]byte, source, target netip.Addr) {
	s, t := source.As4(), target.As4()
	clear(b[:arpSize])
	copy(b, []byte{0, 1, protocolIPv4 >> 8, protocolIPv4 & 0xff, 6, 4, 0, arpRequest})
	copy(b[8:], mac[:])
	copy(b[14:], s[:])
	copy(b[24:], t[:])
}

// parseARP reads who says where it is, out of a reply.
func parseARP(b []byte) (addr netip.Addr, mac [6]byte, ok bool) {
	if len(b) < arpSize || [8]byte(b[:8]) != [8]byte{0, 1, protocolIPv4 >> 8, protocolIPv4 & 0xff, 6, 4, 0, arpReply} {
		return addr, mac, false
	}
	return netip.AddrFrom4([4]byte(b[14:18])), [6]byte(b[8:14]), true
}
