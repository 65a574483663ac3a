package simnet

import (
	"container/heap"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/spate-project/spate/stream/udp"
)

// arrival is a datagram on its way to a socket, or waiting there.
type arrival struct {
	due     time.Time
	order   uint64 // breaks ties: first sent, first received
	from    netip.AddrPort
	data    []byte
	refused bool // nobody listens at from; no data
}

// arrivals is a heap by time of arrival.
type arrivals []arrival

func (a arrivals) Len() int { return len(a) }
func (a arrivals) Less(i, j int) bool {
	if !a[i].due.Equal(a[j].due) {
		return a[i].due.Before(a[j].due)
	}
	return a[i].order < a[j].order
}
func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push implements heap.Interface.
func (a *arrivals) Push(x any) { *a = append(*a, x.(arrival)) }

// Pop implements heap.Interface.
func (a *arrivals) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = arrival{}
	*a = (*a)[:last]
	return x
}

// conn is one socket. What is sent to it is put in flying at once, with its time of arrival; whoever touches the socket
// moves what has arrived to ready. Nothing reads in between, so it makes no difference that this is not done on time.
type conn struct {
	net      *Network
	local    netip.AddrPort
	refusals bool
	room     int // bytes of payload that ready holds

	wake  chan struct{} // something changed that a Receive must look at
	timer *time.Timer   // belongs to the goroutine that receives

	// Guarded by net.mu.
	flying   arrivals
	ready    []arrival
	bytes    int // in ready
	deadline time.Time
	closed   bool
	counters udp.Counters
}

func newConn(n *Network, local netip.AddrPort, o udp.Options) *conn {
	c := &conn{net: n, local: local, refusals: o.Refusals, room: o.ReceiveBuffer, wake: make(chan struct{}, 1)}
	if c.room <= 0 {
		c.room = udp.DefaultReceiveBuffer
	}
	c.timer = time.NewTimer(0)
	c.timer.Stop()
	return c
}

// notify wakes a Receive, now or when it next waits.
func (c *conn) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) arriveLocked(a arrival, now time.Time) {
	c.landLocked(now)
	heap.Push(&c.flying, a)
	c.notify()
}

// landLocked moves what has arrived by now into the receive buffer.
func (c *conn) landLocked(now time.Time) {
	for len(c.flying) > 0 && !c.flying[0].due.After(now) {
		a := heap.Pop(&c.flying).(arrival)
		if c.bytes+len(a.data) > c.room {
			c.counters.Dropped++
			continue
		}
		c.bytes += len(a.data)
		c.ready = append(c.ready, a)
	}
}

// Receive implements udp.Conn.
func (c *conn) Receive(b *udp.Batch) error {
	for {
		ok, until, err := c.take(b)
		if ok || err != nil {
			return err
		}
		if until.IsZero() {
			<-c.wake
			continue
		}
		c.timer.Reset(time.Until(until))
		select {
		case <-c.wake:
			c.timer.Stop()
		case <-c.timer.C:
		}
	}
}

// ReceiveSpin implements udp.Conn; there is nothing to spin for in memory.
func (c *conn) ReceiveSpin(b *udp.Batch, _ time.Duration) error { return c.Receive(b) }

// TryReceive implements udp.Conn.
func (c *conn) TryReceive(b *udp.Batch) (bool, error) {
	ok, _, err := c.take(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return ok, err
}

// take fills b if something has arrived, else it says when there may be something to do; zero means not before a wake.
func (c *conn) take(b *udp.Batch) (ok bool, until time.Time, err error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return false, until, net.ErrClosed
	}
	now := time.Now()
	if c.landLocked(now); len(c.ready) > 0 {
		if a := c.ready[0]; a.refused {
			c.popLocked()
			c.counters.Refused++
			return false, until, &udp.Refused{Remote: a.from, Err: syscall.ECONNREFUSED}
		}
		c.batchLocked(b)
		return true, until, nil
	}
	if !c.deadline.IsZero() {
		if !c.deadline.After(now) {
			return false, until, os.ErrDeadlineExceeded
		}
		until = c.deadline
	}
	if len(c.flying) > 0 && (until.IsZero() || c.flying[0].due.Before(until)) {
		until = c.flying[0].due
	}
	return false, until, nil
}

func (c *conn) popLocked() {
	c.bytes -= len(c.ready[0].data)
	c.ready[0] = arrival{}
	if c.ready = c.ready[1:]; len(c.ready) == 0 {
		c.ready = nil
	}
}

// batchLocked takes the first datagram and those behind it that make one train with it.
func (c *conn) batchLocked(b *udp.Batch) {
	first := c.ready[0]
	b.Data = append(b.Buf[:0], first.data...)
	b.From, b.To, b.Segment = first.from, c.local.Addr(), len(first.data)
	c.popLocked()
	for n := 1; n < udp.MaxSegments && len(c.ready) > 0; n++ {
		next := c.ready[0]
		if next.refused || next.from != first.from || len(next.data) > b.Segment || len(next.data) == 0 ||
			len(b.Data)+len(next.data) > min(len(b.Buf), udp.MaxReceive) {
			return
		}
		b.Data = append(b.Data, next.data...)
		c.popLocked()
		if len(next.data) < b.Segment {
			return
		}
	}
}

// Send implements udp.Conn.
func (c *conn) Send(train []byte, segment int, p udp.Path) error {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if local := p.Local.Unmap(); local.IsValid() && local != c.local.Addr() {
		c.counters.Unreachable++
		return udp.ErrUnreachable
	}
	to := netip.AddrPortFrom(p.Remote.Addr().Unmap(), p.Remote.Port())
	pipe := n.pipeLocked(c.local.Addr(), to.Addr())
	if device := pipe.link.Device; device > 0 && min(segment, len(train)) > device || min(segment, len(train)) > udp.MaxTrain {
		c.counters.TooBig++
		return udp.ErrTooBig
	}
	for len(train) > 0 {
		var datagram []byte
		datagram, train = udp.Split(train, segment)
		if n.filter != nil && !n.filter(c.local, to, datagram) || n.cutLocked(c.local.Addr(), to.Addr()) {
			continue
		}
		n.forwardLocked(pipe, c.local, to, datagram)
	}
	return nil
}

// SetReadDeadline implements udp.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.deadline = t
	c.notify()
	return nil
}

// LocalAddr implements udp.Conn.
func (c *conn) LocalAddr() netip.AddrPort { return c.local }

// Offloads implements udp.Conn.
func (c *conn) Offloads() udp.Offloads {
	return udp.Offloads{GSO: true, GRO: true, ReceiveBuffer: c.room, SendBuffer: c.room}
}

// Counters implements udp.Conn. Dropped counts what found the receive buffer full.
func (c *conn) Counters() udp.Counters {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.counters
}

// Close implements udp.Conn.
func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.flying, c.ready = nil, nil
	c.net.closeLocked(c)
	c.notify()
	return nil
}
