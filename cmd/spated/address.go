package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// listenProblem says why the stream service cannot have its address.
func listenProblem(a netip.AddrPort, err error) error {
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("stream service: %s is no address of this machine; ip addr lists those that it has: %w", a.Addr(), err)
	}
	return fmt.Errorf("stream service: %w", err)
}

// outside are addresses that are nobody's (RFC 5737, RFC 3849): the way to them begins at the card that leads to the
// rest of the network.
var outside = []string{"192.0.2.1:9", "[2001:db8::1]:9"}

// reachable is where others find this machine. An address that stands for all of the machine's is replaced by the one
// of the card that leads to the rest of the network, or of any card, or by loopback's.
func reachable(a netip.AddrPort) netip.AddrPort {
	if !a.Addr().IsUnspecified() {
		return a
	}
	takes := func(ip netip.Addr) bool { return ip.Is4() || a.Addr().Is6() } // the unspecified address of IPv6 takes both
	for _, to := range outside {
		c, err := net.Dial("udp", to) // sends nothing
		if err != nil {
			continue
		}
		ip := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		c.Close()
		if takes(ip) {
			return netip.AddrPortFrom(ip, a.Port())
		}
	}
	all, _ := net.InterfaceAddrs() // without any, loopback's is left
	for _, one := range all {
		p, err := netip.ParsePrefix(one.String())
		if err == nil && p.Addr().IsGlobalUnicast() && takes(p.Addr()) {
			return netip.AddrPortFrom(p.Addr(), a.Port())
		}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
}
