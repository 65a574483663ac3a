package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

var errFamily = errors.New("an IPv6 address cannot be reached from a socket of IPv4")

// zones turns interface indices into zones of link-local addresses and back. A zone is written as the index, not the
// name: names change at run time. The last one is kept, because a machine talks over one or two interfaces and making
// the string would allocate.
type zones struct{ last atomic.Pointer[zone] }

type zone struct {
	index uint32
	name  string
}

func (z *zones) name(index uint32) string {
	if last := z.last.Load(); last != nil && last.index == index {
		return last.name
	}
	next := &zone{index, strconv.FormatUint(uint64(index), 10)}
	z.last.Store(next)
	return next.name
}

func (z *zones) index(name string) (uint32, error) {
	if last := z.last.Load(); last != nil && last.name == name {
		return last.index, nil
	}
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return 0, err
		}
		n = uint64(i.Index)
	}
	z.last.Store(&zone{uint32(n), name})
	return uint32(n), nil
}

// putPort writes a port in network byte order where the kernel expects it.
func putPort(p *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], port)
}

func getPort(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

// put writes a into name as the socket's family wants it and returns the length.
func (z *zones) put(name *unix.RawSockaddrInet6, a netip.AddrPort, v6 bool) (uint32, error) {
	ip := a.Addr()
	if v6 {
		*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: ip.As16()}
		putPort(&name.Port, a.Port())
		if ip.Zone() != "" {
			index, err := z.index(ip.Zone())
			if err != nil {
				return 0, err
			}
			name.Scope_id = index
		}
		return unix.SizeofSockaddrInet6, nil
	}
	ip = ip.Unmap()
	if !ip.Is4() {
		return 0, errFamily
	}
	name4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	*name4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: ip.As4()}
	putPort(&name4.Port, a.Port())
	return unix.SizeofSockaddrInet4, nil
}

// get reads what the kernel wrote; the zero AddrPort for a family that is not ours.
func (z *zones) get(name *unix.RawSockaddrInet6) netip.AddrPort {
	switch name.Family {
	case unix.AF_INET:
		name4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(name4.Addr), getPort(&name4.Port))
	case unix.AF_INET6:
		ip := netip.AddrFrom16(name.Addr).Unmap()
		if name.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(z.name(name.Scope_id))
		}
		return netip.AddrPortFrom(ip, getPort(&name.Port))
	}
	return netip.AddrPort{}
}
