//go:build !linux

package link

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

var errSystem = errors.New("DHCP needs Linux's packet sockets")

// Socket is a packet socket on one interface; there is none on this system.
type Socket struct{}

// Listen fails on this system.
func Listen(string) (*Socket, error) { return nil, errSystem }

// ListenRouters fails on this system.
func ListenRouters(string) (*Socket, error) { return nil, errSystem }

// MAC is the interface's hardware address.
func (*Socket) MAC() MAC { return MAC{} }

// Read fails on this system.
func (*Socket) Read([]byte) (int, error) { return 0, errSystem }

// Write fails on this system.
func (*Socket) Write([]byte) error { return errSystem }

// SetReadDeadline fails on this system.
func (*Socket) SetReadDeadline(time.Time) error { return errSystem }

// Close does nothing on this system.
func (*Socket) Close() error { return nil }

// Conn is a UDP socket that is bound to one interface; there is none on this system.
type Conn struct{ *net.UDPConn }

// ListenUDP fails on this system.
func ListenUDP(string, uint16, bool) (*Conn, error) { return nil, errSystem }

// ReadFrom fails on this system.
func (*Conn) ReadFrom([]byte) (int, netip.AddrPort, bool, error) {
	return 0, netip.AddrPort{}, false, errSystem
}
