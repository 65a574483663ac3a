package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of control messages, in bytes. controlSize has room for everything one of our sockets can be sent: packet
// information, segment length, and an extended error with the address of the router that sent it.
const (
	headerSize  = unix.SizeofCmsghdr
	controlSize = 256

	extendedErrorSize = 16 // struct sock_extended_err
)

// align rounds a length up to the alignment of control messages, the size of a machine word.
func align(n int) int {
	const word = int(unsafe.Sizeof(uintptr(0)))
	return (n + word - 1) &^ (word - 1)
}

// appendControl appends one control message with size bytes of zeroed data and returns the slice and that data.
// b must have the capacity; nothing is allocated.
func appendControl(b []byte, level, kind int32, size int) (all, data []byte) {
	start := len(b)
	all = b[:start+align(headerSize+size)]
	clear(all[start:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&all[start]))
	h.Level, h.Type = level, kind
	h.SetLen(headerSize + size)
	return all, all[start+headerSize : start+headerSize+size]
}

// appendSegment asks for a segmented send (udp(7), UDP_SEGMENT).
func appendSegment(b []byte, segment int) []byte {
	b, data := appendControl(b, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(segment))
	return b
}

// appendSource names the local address that a datagram leaves from. On an IPv6 socket an IPv4 address is written in its
// mapped form.
func appendSource(b []byte, local netip.Addr, v6 bool) []byte {
	if v6 {
		b, data := appendControl(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		a := local.As16()
		copy(data, a[:])
		return b
	}
	b, data := appendControl(b, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	a := local.As4()
	copy(data[4:8], a[:]) // ipi_spec_dst
	return b
}

// received is what the control messages of one recvmsg say.
type received struct {
	segment int        // 0 when there is none
	to      netip.Addr // IPv4 unmapped

	errno    uint32 // of an extended error
	origin   uint8
	hasError bool
}

// parseControl reads the control messages that came with a datagram or an error. It skips what it does not know and
// stops at the first one that does not fit.
func parseControl(b []byte) (r received) {
	for len(b) >= headerSize {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		level, kind, size := h.Level, h.Type, uint64(h.Len)
		if size < headerSize || size > uint64(len(b)) {
			return r
		}
		r.take(level, kind, b[headerSize:size])
		b = b[min(align(int(size)), len(b)):]
	}
	return r
}

func (r *received) take(level, kind int32, data []byte) {
	switch {
	case level == unix.IPPROTO_UDP && kind == unix.UDP_GRO && len(data) >= 4:
		if n := int32(binary.NativeEndian.Uint32(data)); n > 0 {
			r.segment = int(n)
		}
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		r.to = netip.AddrFrom4([4]byte(data[4:8]))
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		r.to = netip.AddrFrom16([16]byte(data[:16])).Unmap()
	case level == unix.IPPROTO_IP && kind == unix.IP_RECVERR && len(data) >= extendedErrorSize,
		level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR && len(data) >= extendedErrorSize:
		r.hasError = true
		r.errno = binary.NativeEndian.Uint32(data)
		r.origin = data[4]
	}
}
