package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// plainReason is what Offloads says of a plainConn.
const plainReason = "this operating system has none that Spate knows"

// plainGlance is how long TryReceive of a plainConn may take when nothing is there.
const plainGlance = 200 * time.Microsecond

// plainConn does everything with the portable part of package net, one datagram a call. It has no segment offloads, does
// not know to which local address a datagram came, and cannot forbid fragments.
type plainConn struct {
	sock *net.UDPConn

	mu       sync.Mutex
	deadline time.Time // guarded by mu: what SetReadDeadline asked for, which TryReceive disturbs

	counters struct{ dropped, refused atomic.Uint64 }
}

// listenPlain opens one socket; without SO_REUSEPORT there is only one loop.
func listenPlain(addr netip.AddrPort, o Options) ([]Conn, error) {
	if !addr.Addr().IsValid() {
		return nil, fmt.Errorf("listen: no address")
	}
	network := "udp"
	if addr.Addr().Is4() {
		network = "udp4"
	}
	sock, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("listen on udp %v: %w", addr, err)
	}
	// A smaller buffer than asked for costs speed, not correctness.
	_ = sock.SetReadBuffer(orDefault(o.ReceiveBuffer, DefaultReceiveBuffer))
	_ = sock.SetWriteBuffer(orDefault(o.SendBuffer, DefaultSendBuffer))
	return []Conn{&plainConn{sock: sock}}, nil
}

func orDefault(n, byDefault int) int {
	if n <= 0 {
		return byDefault
	}
	return n
}

// Receive implements Conn.
func (c *plainConn) Receive(b *Batch) error {
	if len(b.Buf) < MaxReceive {
		return errShortBuffer
	}
	for failed := 0; ; failed++ {
		n, from, err := c.sock.ReadFromUDPAddrPort(b.Buf[:MaxReceive])
		switch {
		case err == nil:
			b.Data, b.Segment, b.To = b.Buf[:n], n, netip.Addr{}
			b.From = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			return nil
		case errors.Is(err, net.ErrClosed):
			return net.ErrClosed
		case errors.Is(err, os.ErrDeadlineExceeded):
			return os.ErrDeadlineExceeded
		case failed >= maxErrors:
			return fmt.Errorf("receive on %v, %d times in a row: %w", c.LocalAddr(), maxErrors, err)
		}
		c.counters.refused.Add(1)
	}
}

// ReceiveSpin implements Conn; looking is too dear here to do it often.
func (c *plainConn) ReceiveSpin(b *Batch, _ time.Duration) error { return c.Receive(b) }

// TryReceive implements Conn. Package net does not look at the socket once a deadline has passed, so this one lies a
// moment ahead.
func (c *plainConn) TryReceive(b *Batch) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.sock.SetReadDeadline(time.Now().Add(plainGlance)); err != nil {
		return false, net.ErrClosed
	}
	err := c.Receive(b)
	if reset := c.sock.SetReadDeadline(c.deadline); err == nil && reset != nil {
		return true, nil // closed meanwhile; what came before it counts
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	return err == nil, err
}

// Send implements Conn.
func (c *plainConn) Send(train []byte, segment int, p Path) error {
	if err := checkTrain(train, segment); err != nil {
		return err
	}
	for len(train) > 0 {
		var one []byte
		one, train = Split(train, segment)
		if _, err := c.sock.WriteToUDPAddrPort(one, p.Remote); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return net.ErrClosed
			}
			c.counters.dropped.Add(1)
			return ErrDropped
		}
	}
	return nil
}

// SetReadDeadline implements Conn.
func (c *plainConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if err := c.sock.SetReadDeadline(t); err != nil {
		return net.ErrClosed
	}
	return nil
}

// LocalAddr implements Conn.
func (c *plainConn) LocalAddr() netip.AddrPort {
	a := c.sock.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Offloads implements Conn.
func (c *plainConn) Offloads() Offloads {
	return Offloads{GSOReason: plainReason, GROReason: plainReason}
}

// Counters implements Conn.
func (c *plainConn) Counters() Counters {
	return Counters{Dropped: c.counters.dropped.Load(), Refused: c.counters.refused.Load()}
}

// Close implements Conn.
func (c *plainConn) Close() error {
	if err := c.sock.Close(); err != nil {
		return net.ErrClosed
	}
	return nil
}
