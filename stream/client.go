package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

// Words of package engine that users of a client meet.
type (
	// Fetch is one read of consecutive objects.
	Fetch = engine.Fetch
	// Event is something that happened to a client.
	Event = engine.Event
	// Snapshot is the state of a client.
	Snapshot = engine.Snapshot
	// Instant is a point on this machine's own clock.
	Instant = engine.Instant
)

// Receiver takes finished fetches: the Owner of each [Fetch] must be one.
type Receiver interface {
	// Fetched is called once for each fetch handed in, when f.Err or f.Buf[:f.Total]
	// stands. It is called without any lock of the client, mostly from its receive
	// loop, which waits for it: what takes long belongs elsewhere.
	Fetched(f *Fetch)
}

// ClientConfig is what a client needs.
type ClientConfig struct {
	Farm      secure.PublicKey
	Device    secure.PrivateKey
	PSK       [32]byte
	Cipher    wire.Cipher
	Login     wire.Login
	Servers   []netip.AddrPort
	FailAfter time.Duration
	Conn      udp.Conn // closed by the client when it ends
	// OnEvent is told what happens, from the client's goroutines, one at a time
	// and in order; it must not call the client and must not block.
	OnEvent func(Event)
	Now     func() Instant // nil: CLOCK_BOOTTIME
	Random  io.Reader      // nil: the system's
}

// Client is the target's end: it keeps being served and hands fetches to the
// protocol engine. Its methods may be called by many goroutines.
type Client struct {
	cfg ClientConfig
	now func() Instant

	mu      sync.Mutex
	engine  *engine.Client // guarded by mu
	out     engine.Output  // guarded by mu
	armed   Instant        // guarded by mu: when the receive loop wakes at the latest
	serving chan struct{}  // closed by the first log-in
	served  bool           // guarded by mu
	denied  chan Event     // the first refusals, for who waits for the log-in
	ending  atomic.Bool
	inWork  atomic.Int32 // fetches, for the receive loop's spinning

	eventMu sync.Mutex // held while OnEvent runs; taken inside mu, so that events keep their order
}

// NewClient makes a client that works from Run on.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Now == nil {
		cfg.Now = bootTime
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	c := &Client{cfg: cfg, now: cfg.Now, serving: make(chan struct{}), denied: make(chan Event, 16), armed: engine.Never}
	var flags wire.StatusFlags
	o := cfg.Conn.Offloads()
	if o.GSO {
		flags |= wire.StatusGSO
	}
	if o.GRO {
		flags |= wire.StatusGRO
	}
	c.engine = engine.NewClient(engine.ClientConfig{
		Farm: cfg.Farm, Device: cfg.Device, PSK: cfg.PSK, Cipher: cfg.Cipher, Login: cfg.Login, Servers: cfg.Servers,
		FailAfter: cfg.FailAfter, Offloads: flags, Random: cfg.Random, MaxWindow: o.ReceiveBuffer / bufferPart,
	})
	return c
}

// Run logs in and serves fetches until ctx ends; then it leaves its servers, waits
// for a moment until they have heard it, and closes the socket.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	c.engine.Start(c.now())
	c.settleLocked()
	stop := context.AfterFunc(ctx, func() {
		c.ending.Store(true)
		_ = c.cfg.Conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed socket only, which ends Run as well
	})
	defer stop()
	b := udp.Batch{Buf: make([]byte, udp.MaxReceive)}
	for ctx.Err() == nil {
		var look time.Duration
		if c.inWork.Load() > 0 {
			look = spin
		}
		err := c.cfg.Conn.ReceiveSpin(&b, look)
		if err := c.step(&b, err); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.engine.Leave(c.now())
	c.settleLocked()
	return errors.Join(c.sayGoodBye(&b), c.cfg.Conn.Close())
}

// sayGoodBye goes on until the servers have confirmed that the client has left,
// which takes a round trip, or have not for too long. One that does not know it
// would count on the client for half a minute more.
func (c *Client) sayGoodBye(b *udp.Batch) error {
	for {
		c.mu.Lock()
		gone, due := c.engine.Gone(), c.engine.Deadline()
		c.mu.Unlock()
		if gone {
			return nil
		}
		_ = c.cfg.Conn.SetReadDeadline(time.Now().Add(max(due.Sub(c.now()), 0))) // fails on a closed socket only
		err := c.cfg.Conn.Receive(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err := c.step(b, err); err != nil {
			return err
		}
	}
}

// step takes what a receive brought. All that has arrived is taken before time
// is looked at: silence is only what is silent after that.
func (c *Client) step(b *udp.Batch, err error) error {
	c.mu.Lock()
	switch refused, isRefused := errors.AsType[*udp.Refused](err); {
	case err == nil:
		now := c.now()
		for d := range b.All() {
			c.engine.Receive(now, b.From, d)
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.armed = engine.Never
		for {
			more, err := c.cfg.Conn.TryReceive(b)
			if err != nil || !more {
				break
			}
			now := c.now()
			for d := range b.All() {
				c.engine.Receive(now, b.From, d)
			}
		}
	case isRefused:
		c.engine.Unreachable(c.now(), refused.Remote)
	case errors.Is(err, net.ErrClosed):
		c.mu.Unlock()
		return nil
	default:
		c.mu.Unlock()
		return err
	}
	now := c.now()
	if now >= c.engine.Deadline() {
		c.engine.Tick(now)
	} else {
		c.engine.Flush(now)
	}
	c.settleLocked()
	return nil
}

// settleLocked carries out what the engine asks for, arms the timer, unlocks,
// and hands finished fetches to their owners.
func (c *Client) settleLocked() {
	var room [64]*Fetch
	done := room[:0]
	for {
		c.engine.Take(&c.out)
		if c.out.Empty() {
			break
		}
		for _, d := range c.out.Sends {
			// What the stack does not take is lost like in the network.
			_ = c.cfg.Conn.Send(d.Data, len(d.Data), udp.Path{Remote: d.To})
		}
		done = append(done, c.out.Done...)
		for _, e := range c.out.Events {
			c.tellLocked(e)
		}
	}
	c.armLocked()
	c.mu.Unlock()
	c.inWork.Add(-int32(len(done)))
	for _, f := range done {
		f.Owner.(Receiver).Fetched(f)
	}
}

func (c *Client) tellLocked(e Event) {
	switch e.Kind {
	case engine.EventServing:
		if !c.served {
			c.served = true
			close(c.serving)
		}
	case engine.EventDenied:
		select {
		case c.denied <- e:
		default:
		}
	}
	if c.cfg.OnEvent != nil {
		c.eventMu.Lock()
		c.cfg.OnEvent(e)
		c.eventMu.Unlock()
	}
}

// armLocked makes the receive loop wake for the engine's next deadline.
func (c *Client) armLocked() {
	d := c.engine.Deadline()
	if d >= c.armed || c.ending.Load() {
		return // it wakes earlier, looks, and arms again
	}
	c.armed = d
	_ = c.cfg.Conn.SetReadDeadline(time.Now().Add(max(d.Sub(c.now()), 0))) // fails on a closed socket only
}

// Fetch hands in fetches, which share datagrams. Each comes back to its Owner.
// When it fails for one, that one and the rest were not taken.
func (c *Client) Fetch(list ...*Fetch) (taken int, err error) {
	c.mu.Lock()
	now := c.now()
	for _, f := range list {
		if err = c.engine.Fetch(now, f); err != nil {
			break
		}
		taken++
	}
	c.inWork.Add(int32(taken))
	c.engine.Flush(now)
	c.settleLocked()
	return taken, err
}

// Urge makes demand of read-ahead that somebody waits for now.
func (c *Client) Urge(f *Fetch) {
	c.mu.Lock()
	c.engine.Urge(c.now(), f)
	c.engine.Flush(c.now())
	c.settleLocked()
}

// Reject says that an object of a finished fetch does not verify. The fetch
// starts over with another server and comes back to its owner again.
func (c *Client) Reject(f *Fetch, level uint8, index int64) error {
	c.mu.Lock()
	now := c.now()
	err := c.engine.Reject(now, f, level, index)
	if err == nil {
		c.inWork.Add(1)
	}
	c.engine.Tick(now)
	c.settleLocked()
	return err
}

// DeniedError is a server's refusal.
type DeniedError struct{ Event Event }

func (e *DeniedError) Error() string { return e.Event.From + " refuses: " + e.Event.Text }

// WaitServing waits for the first log-in and describes the vDisk. A refusal by
// every configured server ends it with a [*DeniedError].
func (c *Client) WaitServing(ctx context.Context) (wire.Disk, error) {
	refusals := map[string]bool{}
	for {
		select {
		case <-c.serving:
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.engine.Disk(), nil
		case e := <-c.denied:
			refusals[e.Addr.String()] = true
			if len(refusals) >= len(c.cfg.Servers) {
				return wire.Disk{}, &DeniedError{e}
			}
		case <-ctx.Done():
			return wire.Disk{}, ctx.Err()
		}
	}
}

// Snapshot describes the client as it is now.
func (c *Client) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.engine.Snapshot()
}

// SetBoot says when the machine reached which stage of its boot, and its uptime now. The server that serves is told within
// seconds, and each later one, too: see SessionView.Status.
func (c *Client) SetBoot(t wire.BootTimes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engine.SetBoot(c.now(), t)
	if c.served {
		c.armLocked()
	}
}

// Offloads tells what the socket does in one call.
func (c *Client) Offloads() udp.Offloads { return c.cfg.Conn.Offloads() }

// Now is the clock by which clients count when none is configured.
func Now() Instant { return bootTime() }
