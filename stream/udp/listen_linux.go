package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen opens o.Loops sockets on addr and returns one Conn for each. "[::]" takes IPv4 as well; where the machine has
// no IPv6 it falls back to 0.0.0.0. Port 0 lets the kernel choose one, the same for all sockets. An address that
// somebody else holds, also as part of a wildcard, is an error that names the process if it is one of ours.
func Listen(addr netip.AddrPort, o Options) ([]Conn, error) {
	if o.Loops < 0 || o.Loops > MaxLoops {
		return nil, fmt.Errorf("listen on %v: %d loops, the most are %d", addr, o.Loops, MaxLoops)
	}
	if !addr.Addr().IsValid() {
		return nil, fmt.Errorf("listen: no address")
	}
	loops := max(o.Loops, 1)
	own := &owner{}
	own.users.Store(int32(loops))
	first, err := open(addr, o, false)
	if addr.Addr() == netip.IPv6Unspecified() && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
		first, err = open(addr, o, false)
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, taken(addr)
	case err != nil:
		return nil, fmt.Errorf("listen on udp %v: %w", addr, err)
	}
	addr = netip.AddrPortFrom(addr.Addr(), uint16(first.LocalAddr().(*net.UDPAddr).Port))
	conns, err := share(first, addr, loops, o, own)
	if err != nil {
		return nil, fmt.Errorf("listen on udp %v: %w", addr, err)
	}
	own.hold(addr)
	return conns, nil
}

// share makes a Conn of the first socket and opens the others beside it. The first one was bound without SO_REUSEPORT,
// so nobody else holds the address now, and nobody who asks in the same way can get it.
func share(first *net.UDPConn, addr netip.AddrPort, loops int, o Options, own *owner) (conns []Conn, err error) {
	socks := []*net.UDPConn{first}
	defer func() {
		if err != nil {
			for _, s := range socks {
				s.Close()
			}
		}
	}()
	if loops > 1 {
		if err := allowReuse(first); err != nil {
			return nil, err
		}
	}
	for len(socks) < loops {
		s, err := open(addr, o, true)
		if err != nil {
			return nil, err
		}
		socks = append(socks, s)
	}
	for _, s := range socks {
		c, err := newConn(s, o, own)
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func allowReuse(s *net.UDPConn) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("share the port between loops: %w", err)
	}
	return nil
}

// open binds one socket.
func open(addr netip.AddrPort, o Options, reuse bool) (*net.UDPConn, error) {
	network := "udp6"
	switch ip := addr.Addr(); {
	case ip.Unmap().Is4():
		network = "udp4"
		addr = netip.AddrPortFrom(ip.Unmap(), addr.Port())
	case ip == netip.IPv6Unspecified():
		network = "udp" // dual stack
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) { set = prepare(int(fd), o, reuse) })
		return errors.Join(err, set)
	}}
	p, err := lc.ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, err
	}
	return p.(*net.UDPConn), nil
}

// prepare sets what must be there before the socket is bound and receives.
func prepare(fd int, o Options, reuse bool) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("ask for the family of a socket: %w", err)
	}
	type option struct {
		level, name, value int
		what               string
		wanted             bool
	}
	v6 := domain == unix.AF_INET6
	for _, s := range []option{
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "share the port between loops", reuse},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, "forbid fragments", true},
		{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE, "forbid IPv6 fragments", v6},
		{unix.IPPROTO_IP, unix.IP_PKTINFO, 1, "ask for the local address of datagrams", !v6},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, "ask for the local address of IPv6 datagrams", v6},
		{unix.IPPROTO_IP, unix.IP_RECVERR, 1, "ask for ICMP errors", o.Refusals},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1, "ask for ICMPv6 errors", o.Refusals && v6},
	} {
		if !s.wanted {
			continue
		}
		if err := unix.SetsockoptInt(fd, s.level, s.name, s.value); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	buffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.ReceiveBuffer, DefaultReceiveBuffer)
	buffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.SendBuffer, DefaultSendBuffer)
	return nil
}

// buffer sets a socket buffer past the system's limit where we may, else up to it. That it did not work is no error:
// Offloads tells what was granted.
func buffer(fd, force, ask, size, byDefault int) {
	if size <= 0 {
		size = byDefault
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, ask, size)
	}
}
