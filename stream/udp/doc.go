// Package udp is the sockets of the stream protocol and nothing else: it moves trains of datagrams between a caller's
// buffer and the kernel, and knows neither sessions nor keys.
//
// # Trains
//
// The unit of work is a train: datagrams of equal length that lie one after the other in one buffer, the last one may be
// shorter, all for or from one address. On Linux a train is one system call in each direction (UDP_SEGMENT on the way
// out, UDP_GRO on the way in), which is some twenty times as fast as one call a datagram. Where a path refuses a
// segmented send (IPsec, a device that cannot checksum), that path alone falls back to one call a datagram, and
// Offloads says so; where the kernel knows no offload, or on another system, everything works the slow way.
//
// # Rules that callers may rely on
//
//   - Send never blocks and never keeps the caller's memory. A full buffer, a missing route or a packet filter is
//     ErrDropped: the network lost it, as networks do. Any number of goroutines may send.
//   - One goroutine receives. Receive and TryReceive fill the caller's buffer and keep nothing.
//   - Neither allocates, except for the rare error that carries an address.
//   - An ICMP error never ends a receive loop. With Options.Refusals it comes as *Refused, which is a hint and proves
//     nothing: anybody on the path can forge it.
//   - Datagrams leave with "don't fragment" set, always, and the kernel's idea of the path's MTU is ignored
//     (IP_PMTUDISC_PROBE): the protocol finds the packet size by its own probes. Larger than the device's MTU is
//     ErrTooBig.
//   - Replies leave from the address that was asked: Batch.To goes into Path.Local.
//
// # Several loops, one port
//
// Listen opens Options.Loops sockets with SO_REUSEPORT, and the kernel spreads remote addresses over them. SO_REUSEPORT
// would also let a second process of the same user bind the same port silently and take half of the traffic. So the
// first socket binds without the option, which fails whenever anybody holds an overlapping address, and gets the option
// only then. An abstract unix socket named after the address is held beside it, only so that the second process can
// name the first: "port 6910 is taken by spated, pid 123".
//
// # Past the packet filter
//
// Bypass wraps a Conn for a machine whose root file system comes over it. When nothing comes through, it sends and receives
// Ethernet frames by itself until the ordinary way works again: bypass.go decides when, as a value that is stepped, frame.go
// writes and reads the headers, packet_linux.go is the socket.
//
// Sources: udp(7), ip(7), ipv6(7), socket(7), unix(7), packet(7), and the kernel's Documentation/networking on segmentation
// offloads.
package udp
