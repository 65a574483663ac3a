package link

import (
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	etherIPv6     = 0x86dd
	protoICMPv6   = 58
	solicitation  = 133 // RFC 4861 section 4.1
	advertisement = 134 // section 4.2
)

// routing lets through router solicitations and advertisements.
var routing = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv6, SkipFalse: 6},
	bpf.LoadAbsolute{Off: ethernet + 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMPv6, SkipFalse: 4},
	bpf.LoadAbsolute{Off: ethernet + 40, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: solicitation, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: advertisement, SkipFalse: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// allNodes and allRouters are groups of IPv6 (RFC 4291 section 2.7.1).
var (
	allNodes   = [16]byte{0xff, 2, 15: 1}
	allRouters = [16]byte{0xff, 2, 15: 2}
)

// ListenRouters opens a packet socket on an interface that hears router solicitations and advertisements. It needs CAP_NET_RAW, and no
// IPv6 on the interface.
func ListenRouters(iface string) (*Socket, error) {
	s, err := listen(iface, routing)
	if err != nil {
		return nil, err
	}
	for _, group := range [][16]byte{allNodes, allRouters} {
		m := unix.PacketMreq{Ifindex: int32(s.iface.Index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		copy(m.Address[:], []byte{0x33, 0x33, group[12], group[13], group[14], group[15]}) // RFC 2464 section 7
		if err := s.control(func(fd int) error {
			return unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m)
		}); err != nil {
			s.Close()
			return nil, fmt.Errorf("hear multicast packets on %s: %w", iface, err)
		}
	}
	s.group = join(s.iface.Index)
	return s, nil
}

func (s *Socket) control(f func(fd int) error) error {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// join tells switches that look into MLD that solicitations are wanted here. Without IPv6 on the interface nobody can be told, which
// matters only behind such a switch: nil then.
func join(index int) *os.File {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: allRouters, Interface: uint32(index)}); err != nil {
		_ = unix.Close(fd) // it was for nothing else
		return nil
	}
	return os.NewFile(uintptr(fd), "group")
}
