package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/remote"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

const (
	movesKept = 16 // moves that status lists
	rateEvery = time.Second
)

// Attachment is a vDisk that this process has logged in to.
type Attachment struct {
	Disk *remote.Disk

	client   *stream.Client
	where    string
	line     func(string) // tells a person what happens, one line a call
	start    time.Time
	origin   stream.Instant // the client's clock at start
	cancel   context.CancelFunc
	finished chan error

	mu      sync.Mutex // guards all below
	moves   []Move
	waiting string
	disk    string // what is read, for people
	errors  uint64
	failed  func() uint64 // more errors; may be nil
	rate    float64
	bytes   uint64
	rateAt  time.Time
	cache   *blockdev.WriteCache
}

// Options say how to attach.
type Options struct {
	Login Login
	Where string // for status: what the disk is attached to
	Log   *zap.Logger
	// Line is called with one line for each thing that a person should know, one call at a time. It must not block for long.
	Line   func(string)
	Remote remote.Options
}

// Attach logs in and returns when a server serves the vDisk. It waits for ever
// for a server, telling why every now and then; a refusal by every server, or
// the end of ctx, ends it. The attachment works until Close.
func Attach(ctx context.Context, o Options) (*Attachment, error) {
	l, err := o.Login.check(ctx)
	if err != nil {
		return nil, err
	}
	if o.Line == nil {
		o.Line = func(string) {}
	}
	conn, err := listen(l.servers)
	if err != nil {
		return nil, fmt.Errorf("open a UDP socket: %w", err)
	}
	a := &Attachment{where: o.Where, line: o.Line, start: time.Now(), finished: make(chan error, 1)}
	a.client = stream.NewClient(stream.ClientConfig{
		Farm: l.farm, Device: l.device, PSK: l.psk, Cipher: l.cipher, Login: l.wire, Servers: l.servers,
		FailAfter: o.Login.FailAfter, Conn: conn, Log: o.Log, OnEvent: a.event,
	})
	a.origin = stream.Now()
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	// Ended by Close, which waits for it.
	go func() { a.finished <- a.client.Run(run) }()
	disk, err := a.client.WaitServing(ctx)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	if a.Disk, err = remote.Open(disk, a.client, o.Remote); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// listen opens the one socket of a target, for the family of its servers.
func listen(servers []netip.AddrPort) (udp.Conn, error) {
	local := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	for _, s := range servers {
		if s.Addr().Is6() {
			local = netip.AddrPortFrom(netip.IPv6Unspecified(), 0) // takes both
		}
	}
	conns, err := udp.Listen(local, udp.Options{Refusals: true})
	if err != nil {
		return nil, err
	}
	return conns[0], nil
}

// Close leaves the servers.
func (a *Attachment) Close() error {
	if a.Disk != nil {
		a.Disk.Close()
	}
	a.cancel()
	return <-a.finished
}

// SetWriteCache tells status of the write cache in front of the disk.
func (a *Attachment) SetWriteCache(c *blockdev.WriteCache) {
	a.mu.Lock()
	a.cache = c
	a.mu.Unlock()
}

// wall is an instant of the client as time of the day.
func (a *Attachment) wall(t stream.Instant) time.Time {
	return a.start.Add(t.Sub(a.origin)).Round(0)
}

// event takes what the client tells. It is called with the client's lock held.
func (a *Attachment) event(e stream.Event) {
	at := a.wall(e.At)
	a.mu.Lock()
	if e.Kind == engine.EventServing {
		a.disk = fmt.Sprintf("%s @ %d", e.Disk.Name, e.Disk.Number)
	}
	disk := a.disk
	switch e.Kind {
	case engine.EventServing, engine.EventMoved:
		a.waiting = ""
	case engine.EventWaiting, engine.EventDenied:
		a.waiting = e.Text
	}
	if e.Kind == engine.EventMoved {
		a.moves = append(a.moves, Move{At: at, From: e.From, To: e.To, Reason: e.Reason.String(), Pause: e.Pause})
		a.moves = a.moves[max(0, len(a.moves)-movesKept):]
	}
	a.mu.Unlock()
	clock := at.Format(clockFormat)
	switch e.Kind {
	case engine.EventServing:
		a.line(fmt.Sprintf("%s %s (%s) serves %s, %s, root %x…%x", clock, e.To, e.Addr, disk,
			size(e.Disk.Size), e.Disk.Content.Root[:2], e.Disk.Content.Root[31:]))
	case engine.EventMoved:
		a.line(Move{At: at, From: e.From, To: e.To, Reason: e.Reason.String(), Pause: e.Pause}.String())
	case engine.EventWaiting:
		a.line(clock + " " + e.Text)
	case engine.EventDenied:
		a.line(fmt.Sprintf("%s %s (%s) refuses: %s", clock, e.From, e.Addr, e.Text))
	case engine.EventDamaged:
		if e.Code == wire.CodeStoreGone {
			a.line(fmt.Sprintf("%s %s cannot read its store (%s); another server is asked", clock, e.From, e.Text))
		} else {
			a.line(fmt.Sprintf("%s %s has a damaged copy of %s of %s; another server is asked", clock, e.From, object(e.Level, e.Index), disk))
		}
	case engine.EventNoGoodCopy:
		a.line(fmt.Sprintf("%s read failed: no server has a good copy of %s of %s; asked: %s", clock, object(e.Level, e.Index), disk, e.Text))
	case engine.EventNote:
		a.line(clock + " " + e.Text)
	}
}

// object names a chunk or an index page for people.
func object(level uint8, index int64) string {
	if level == 0 {
		return fmt.Sprintf("chunk %d", index)
	}
	return fmt.Sprintf("index page %d of level %d", index, level)
}

// CountFailures tells status how many requests of the disk have failed, besides those that Failed is told. The function
// must not call the attachment.
func (a *Attachment) CountFailures(count func() uint64) {
	a.mu.Lock()
	a.failed = count
	a.mu.Unlock()
}

// Failed notes a read that failed, and says which.
func (a *Attachment) Failed(err error) {
	a.mu.Lock()
	a.errors++
	a.mu.Unlock()
	a.line(time.Now().Format(clockFormat) + " read failed: " + err.Error())
}

// Status describes the attachment as it is now.
func (a *Attachment) Status() Status {
	snap := a.client.Snapshot()
	s := Status{PID: os.Getpid(), Attached: a.where}
	s.fill(snap, a.client.Offloads(), a.wall)
	st := a.Disk.Stats()
	s.DiskBytes, s.ReadHits = st.DiskBytes, st.HitRate()
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); now.Sub(a.rateAt) >= rateEvery/2 {
		if !a.rateAt.IsZero() {
			a.rate = float64(s.Bytes-a.bytes) / now.Sub(a.rateAt).Seconds()
		}
		a.rateAt, a.bytes = now, s.Bytes
	}
	s.Rate = a.rate
	s.Moves = append([]Move(nil), a.moves...)
	s.Errors, s.Waiting = a.errors, a.waiting
	if a.failed != nil {
		s.Errors += a.failed()
	}
	if a.cache != nil {
		c := a.cache.Stats()
		s.CacheUsed, s.CacheMax, s.CacheWaits = c.Used, c.Max, c.Waiting
		if c.ReadBytes > 0 {
			part := float64(c.HitBytes) / float64(c.ReadBytes)
			s.ReadHits = part + (1-part)*s.ReadHits
		}
	}
	return s
}

// Track measures the rate until ctx ends.
func (a *Attachment) Track(ctx context.Context) {
	t := time.NewTicker(rateEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			a.Status()
		case <-ctx.Done():
			return
		}
	}
}
