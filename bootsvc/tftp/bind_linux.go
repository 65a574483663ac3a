package tftp

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare makes a socket tell from the first datagram on where it came in (the library asks for that too, but after the socket
// is bound, and gives a request of the time between small blocks), and, if asked, take what comes in by one interface only.
func prepare(interfaceName string) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		var told, bound error
		err := c.Control(func(fd uintptr) {
			if network == "udp6" {
				told = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
			} else {
				told = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			}
			// With what the system gives by default, three hundred requests fit. Not allowed is no mistake: firmware asks again.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
			if interfaceName != "" {
				bound = unix.BindToDevice(int(fd), interfaceName)
			}
		})
		if bound != nil {
			bound = fmt.Errorf("interface %s: %w", interfaceName, bound)
		}
		return errors.Join(err, told, bound)
	}
}
