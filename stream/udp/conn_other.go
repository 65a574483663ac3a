//go:build !linux

package udp

import "net/netip"

// Listen opens a socket on addr. It is one Conn whatever o.Loops says; see plain.go for what is missing here.
func Listen(addr netip.AddrPort, o Options) ([]Conn, error) { return listenPlain(addr, o) }
