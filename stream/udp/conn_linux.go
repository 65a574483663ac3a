package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spinYield is how many empty looks ReceiveSpin takes before it lets other goroutines run once.
const spinYield = 4

// conn is the fast path. Reading goes through RawConn.Read, which parks the goroutine in the runtime's poller and obeys
// deadlines; everything that must not block goes through RawConn.Control, which only keeps the descriptor open.
type conn struct {
	sock  *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
	v6    bool // AF_INET6, IPv4 in mapped form
	hints bool // Options.Refusals
	owner *owner

	paths     paths
	zones     zones
	gro       bool
	groReason string
	buffers   [2]int // receive, send: as granted

	counters struct{ dropped, unreachable, tooBig, truncated, refused atomic.Uint64 }

	reader  reader          // belongs to the one goroutine that receives
	senders [senders]sender // each taken by one Send at a time
}

func newConn(sock *net.UDPConn, o Options, own *owner) (*conn, error) {
	raw, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{sock: sock, raw: raw, hints: o.Refusals, owner: own}
	local := sock.LocalAddr().(*net.UDPAddr).AddrPort()
	c.local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	var setup error
	err = raw.Control(func(fd uintptr) { setup = c.setup(int(fd), o) })
	if err = errors.Join(err, setup); err != nil {
		return nil, err
	}
	c.reader.init(c)
	for i := range c.senders {
		c.senders[i].init(c)
	}
	return c, nil
}

// setup reads the family and asks for what each socket needs after it is bound.
func (c *conn) setup(fd int, o Options) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("ask for the family of a socket: %w", err)
	}
	c.v6 = domain == unix.AF_INET6
	if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err != nil {
		c.paths.disable("the kernel has no UDP_SEGMENT: " + err.Error())
	}
	if o.NoGSO {
		c.paths.disable("switched off")
	}
	switch err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, boolInt(!o.NoGRO)); {
	case o.NoGRO:
		c.groReason = "switched off"
	case err != nil:
		c.groReason = "the kernel has no UDP_GRO: " + err.Error()
	default:
		c.gro = true
	}
	c.buffers[0], _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	c.buffers[1], _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Receive implements Conn.
func (c *conn) Receive(b *Batch) error {
	r := &c.reader
	if len(b.Buf) < MaxReceive {
		return errShortBuffer
	}
	for {
		r.begin(b.Buf)
		err := c.raw.Read(r.wait)
		r.end()
		if err != nil {
			return c.closing(err)
		}
		if done, err := r.finish(b); done || err != nil {
			return err
		}
	}
}

// TryReceive implements Conn.
func (c *conn) TryReceive(b *Batch) (bool, error) {
	r := &c.reader
	if len(b.Buf) < MaxReceive {
		return false, errShortBuffer
	}
	for {
		r.begin(b.Buf)
		err := c.raw.Control(r.look)
		r.end()
		if err != nil {
			return false, c.closing(err)
		}
		if r.empty {
			return false, nil
		}
		if done, err := r.finish(b); done || err != nil {
			return done, err
		}
	}
}

// ReceiveSpin implements Conn.
func (c *conn) ReceiveSpin(b *Batch, spin time.Duration) error {
	if spin > 0 {
		for i, start := 1, time.Now(); ; i++ {
			if ok, err := c.TryReceive(b); ok || err != nil {
				return err
			}
			if time.Since(start) >= spin {
				break
			}
			if i%spinYield == 0 {
				runtime.Gosched()
			}
		}
	}
	return c.Receive(b)
}

// closing turns what RawConn returns into the errors that Conn promises.
func (c *conn) closing(err error) error {
	switch {
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	}
	return fmt.Errorf("udp socket %v: %w", c.local, err)
}

// SetReadDeadline implements Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	if err := c.sock.SetReadDeadline(t); err != nil {
		return c.closing(err)
	}
	return nil
}

// LocalAddr implements Conn.
func (c *conn) LocalAddr() netip.AddrPort { return c.local }

// Offloads implements Conn.
func (c *conn) Offloads() Offloads {
	o := Offloads{GRO: c.gro, GROReason: c.groReason, ReceiveBuffer: c.buffers[0], SendBuffer: c.buffers[1]}
	c.paths.describe(&o)
	return o
}

// Counters implements Conn.
func (c *conn) Counters() Counters {
	return Counters{
		Dropped:     c.counters.dropped.Load(),
		Unreachable: c.counters.unreachable.Load(),
		TooBig:      c.counters.tooBig.Load(),
		Truncated:   c.counters.truncated.Load(),
		Refused:     c.counters.refused.Load(),
	}
}

// Close implements Conn.
func (c *conn) Close() error {
	if err := c.sock.Close(); err != nil {
		return c.closing(err)
	}
	return c.owner.release()
}
