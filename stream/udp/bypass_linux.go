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

	"golang.org/x/sys/unix"
)

// Bypass is inner for a machine whose disk depends on it: when nothing comes any more although datagrams leave, or the
// system refuses to send, it goes past the machine's packet filter by a packet socket (packet(7)), which sees frames
// before the filter and sends them behind it. Somebody who loads a firewall on a machine without a disk would otherwise
// lose the disk from which he could take it back. It returns to the ordinary way when that works again.
//
// Only IPv4 has this way, and only a process with CAP_NET_RAW; without, it is inner and no more. inner belongs to the
// Bypass from here on.
func Bypass(inner Conn, o BypassOptions) Conn {
	b := &bypass{Conn: inner, options: o, watch: newWatch(time.Now())}
	if o.Note == nil {
		b.options.Note = func(string) {}
	}
	return b
}

type bypass struct {
	Conn       // the ordinary way
	options    BypassOptions
	neighbours neighbours
	around     atomic.Pointer[packetSocket] // nil: the ordinary way

	mu       sync.Mutex
	watch    watch     // guarded by mu
	deadline time.Time // guarded by mu
	closed   bool      // guarded by mu
	told     bool      // guarded by mu: Note knows that answers come by the way around
	reason   string    // guarded by mu: why the way around could not be opened, as told last

	last  atomic.Pointer[netip.AddrPort] // whom the last datagram was for
	trial atomic.Bool                    // the next datagram tries the ordinary way

	// What follows belongs to the one goroutine that receives.
	scratch []byte
	begun   time.Time // of the look that the next two are about
	drained bool      // of what came by the ordinary way before the look
	came    bool      // something came there since
}

// Receive implements Conn.
func (b *bypass) Receive(batch *Batch) error { return b.receive(batch, b.Conn.Receive) }

// ReceiveSpin implements Conn.
func (b *bypass) ReceiveSpin(batch *Batch, spin time.Duration) error {
	return b.receive(batch, func(batch *Batch) error { return b.Conn.ReceiveSpin(batch, spin) })
}

// TryReceive implements Conn.
func (b *bypass) TryReceive(batch *Batch) (bool, error) {
	p := b.around.Load()
	if p == nil {
		ok, err := b.Conn.TryReceive(batch)
		if ok {
			b.heard(batch.From)
		}
		return ok, err
	}
	ok, err := p.receive(batch, &b.neighbours, false)
	if ok {
		b.heard(batch.From)
	}
	return ok, err
}

// receive takes the way that is in use, and changes it where that is due. The caller comes here at least at each of its
// deadlines, which are short while it waits for an answer.
func (b *bypass) receive(batch *Batch, ordinary func(*Batch) error) error {
	b.reconsider(time.Now())
	p := b.around.Load()
	if p == nil {
		err := ordinary(batch)
		if err == nil {
			b.heard(batch.From)
		}
		return err
	}
	_, err := p.receive(batch, &b.neighbours, true)
	switch {
	case err == nil:
		b.heard(batch.From)
		return nil
	case errors.Is(err, net.ErrClosed) && b.open():
		return os.ErrDeadlineExceeded // the way was changed meanwhile
	case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
		return err
	default:
		b.turn(time.Now()) // the interface has gone; its successor is found with the next try
		return os.ErrDeadlineExceeded
	}
}

func (b *bypass) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed
}

func (b *bypass) heard(from netip.AddrPort) {
	now := time.Now()
	b.mu.Lock()
	b.watch.received(now, from)
	around := b.watch.around
	news := around != b.told
	b.told = around
	b.mu.Unlock()
	switch {
	case !news:
	case around:
		b.options.Note("answers come past the packet filter of this machine, and did not come through it: was a firewall loaded?")
	default:
		b.options.Note("answers come in the ordinary way again")
	}
}

// Send implements Conn.
func (b *bypass) Send(train []byte, segment int, path Path) error {
	if last := b.last.Load(); last == nil || *last != path.Remote {
		remote := path.Remote // not path itself, which would then lie in the heap
		b.last.Store(&remote)
	}
	p := b.around.Load()
	var err error
	switch {
	case p == nil:
		err = b.Conn.Send(train, segment, path)
	case b.trial.CompareAndSwap(true, false) && b.Conn.Send(train, segment, path) == nil:
		b.turn(time.Now()) // what comes is received there already
		return nil
	default:
		err = b.sendAround(p, train, segment, path)
	}
	if err == nil || errors.Is(err, ErrUnreachable) {
		now := time.Now()
		b.mu.Lock()
		b.watch.sent(now, path.Remote, err != nil)
		b.mu.Unlock()
	}
	return err
}

func (b *bypass) sendAround(p *packetSocket, train []byte, segment int, path Path) error {
	if err := checkTrain(train, segment); err != nil {
		return err
	}
	hop, ok := b.options.Hop(path.Remote.Addr())
	if !ok || hop.Index != p.index || !path.Remote.Addr().Is4() {
		return ErrUnreachable
	}
	mac, ok, ask := b.neighbours.find(time.Now(), path.Remote.Addr(), hop.Next)
	if ask {
		p.ask(hop)
	}
	if !ok {
		return ErrUnreachable
	}
	from := netip.AddrPortFrom(hop.Source, b.LocalAddr().Port())
	for len(train) > 0 {
		n := min(segment, len(train))
		if err := p.send(train[:n], from, path.Remote, mac); err != nil {
			return err
		}
		train = train[n:]
	}
	return nil
}

// reconsider changes the way when that is due, and looks whether the ordinary one works again.
func (b *bypass) reconsider(now time.Time) {
	b.mu.Lock()
	change := b.watch.change(now)
	begin, end := b.watch.look(now)
	begun := b.watch.begun
	b.mu.Unlock()
	if begin && begun != b.begun { // another look than the last one, which may not have come to its end
		b.begun, b.drained, b.came = begun, false, false
	}
	switch {
	case change:
		b.turn(now)
	case begin:
		b.drain()
	case end:
		b.drain()
		b.trial.Store(b.came)
	}
}

// drain throws away what came by the ordinary way, which the way around has brought already. What comes after a first
// drain shows that the ordinary way works, as far as receiving goes.
func (b *bypass) drain() {
	if b.scratch == nil {
		b.scratch = make([]byte, MaxReceive)
	}
	batch := Batch{Buf: b.scratch}
	for {
		// What is wrong with the ordinary way shows when it is used.
		if ok, err := b.Conn.TryReceive(&batch); !ok || err != nil {
			b.drained = true
			return
		}
		b.came = b.came || b.drained
	}
}

// turn goes the other way from now on.
func (b *bypass) turn(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if old := b.around.Swap(nil); old != nil {
		b.watch.turn(now)
		old.close()
		setGRO(b.Conn, true)
		return
	}
	p, err := b.openAround()
	if err != nil {
		b.watch = newWatch(now) // not before another silence
		if text := err.Error(); text != b.reason {
			b.reason = text
			b.options.Note("there is no way around the packet filter of this machine: " + text)
		}
		return
	}
	b.watch.turn(now)
	b.neighbours.forget()
	setGRO(b.Conn, false)
	_ = p.file.SetReadDeadline(b.deadline) // fails on a closed socket only
	b.around.Store(p)
}

// openAround makes the packet socket on the interface toward whoever was sent to last.
func (b *bypass) openAround() (*packetSocket, error) {
	last := b.last.Load()
	if last == nil || !last.Addr().Is4() {
		return nil, errors.New("only IPv4 has one")
	}
	hop, ok := b.options.Hop(last.Addr())
	if !ok {
		return nil, errors.New("no interface leads to the servers")
	}
	return openPacket(hop.Index, b.LocalAddr().Port())
}

// SetReadDeadline implements Conn.
func (b *bypass) SetReadDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline = t
	if p := b.around.Load(); p != nil {
		_ = p.file.SetReadDeadline(t) // fails on a closed socket only
	}
	return b.Conn.SetReadDeadline(t)
}

// Close implements Conn.
func (b *bypass) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if p := b.around.Load(); p != nil {
		p.close()
	}
	return b.Conn.Close()
}

// setGRO switches the kernel's joining of datagrams for a socket: a packet socket sees them joined, and not where they
// were cut.
func setGRO(inner Conn, on bool) {
	c, ok := inner.(*conn)
	if !ok || !c.gro {
		return
	}
	// Without it datagrams that come joined are lost, and asked for again.
	_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, boolInt(on)) })
}

var errFrame = fmt.Errorf("a datagram of more than %d bytes: %w", MaxReceive-frameHeader, ErrTooBig)
