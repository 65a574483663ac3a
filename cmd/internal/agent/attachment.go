package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

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

// Attachment is a vDisk that this process logs in to.
type Attachment struct {
	Disk *remote.Disk // nil until Wait has returned without an error; set with mu held

	client   *stream.Client
	remote   remote.Options
	where    string
	asked    string // the vDisk as the log-in names it
	cipher   wire.Cipher
	line     func(string) // tells a person what happens, one line a call
	start    time.Time
	origin   stream.Instant // the client's clock at start
	servers  []netip.AddrPort
	cancel   context.CancelFunc
	finished chan struct{} // closed when the client has ended
	ended    error         // why; written before

	mu      sync.Mutex // guards all below
	moves   []Move
	waiting string
	errors  uint64
	rate    float64
	bytes   uint64
	rateAt  time.Time
	cache   *blockdev.WriteCache
	served  wire.Disk            // what the server that serves names
	lacking string               // the servers whose copies were no good for the read that failed last
	told    map[string]time.Time // when seldom told a line
}

// Options say how to attach.
type Options struct {
	Login Login
	Where string // for status: what the disk is attached to
	// Line is called with one line for each thing that a person should know, one call at a time. It must not block for long.
	Line func(string)
	// NoClock leaves out the time of the day at the beginning of lines, where whoever shows them has one.
	NoClock bool
	// Wrap, if not nil, gets the socket and gives the one to be used.
	Wrap   func(udp.Conn) udp.Conn
	Remote remote.Options
}

// Attach logs in and returns when a server serves the vDisk. It waits for ever
// for a server, telling why every now and then; a refusal by every server, or
// the end of ctx, ends it. The attachment works until Close.
func Attach(ctx context.Context, o Options) (*Attachment, error) {
	a, err := Start(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := a.Wait(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Start begins to log in and returns at once, so that status can be served while
// there is no server yet; Wait waits for one. Close must be called.
func Start(ctx context.Context, o Options) (*Attachment, error) {
	l, err := o.Login.check(ctx)
	if err != nil {
		return nil, err
	}
	line := o.Line
	switch {
	case line == nil:
		line = func(string) {}
	case o.NoClock:
		line = func(s string) { o.Line(s[min(len(s), len(clockFormat)+1):]) } // every line begins with it
	}
	conn, err := listen(l.servers)
	if err != nil {
		return nil, fmt.Errorf("open a UDP socket: %w", err)
	}
	if o.Wrap != nil {
		conn = o.Wrap(conn)
	}
	a := &Attachment{
		where: o.Where, asked: o.Login.VDisk, cipher: l.cipher, remote: o.Remote, line: line,
		start: time.Now(), servers: l.servers, finished: make(chan struct{}), told: map[string]time.Time{},
	}
	a.client = stream.NewClient(stream.ClientConfig{
		Farm: l.farm, Device: l.device, PSK: l.psk, Cipher: l.cipher, Login: l.wire, Servers: l.servers,
		FailAfter: o.Login.FailAfter, Conn: conn, OnEvent: a.event,
	})
	a.origin = stream.Now()
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	// Ended by Close, which waits for it.
	go func() {
		defer close(a.finished)
		a.ended = a.client.Run(run)
	}()
	return a, nil
}

// Wait returns when a server serves the vDisk, whose Disk can be used from then
// on. A refusal by every server, or the end of ctx, is an error. It is called once.
func (a *Attachment) Wait(ctx context.Context) error {
	told, err := a.client.WaitServing(ctx)
	if err != nil {
		return err
	}
	disk, err := remote.Open(told, a.client, a.remote)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Disk = disk
	return nil
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
	<-a.finished
	return a.ended
}

// Lost returns when the conversation with the servers has ended without Close: nothing is read any more then, and only another
// attachment helps. It returns nil when ctx ends before.
func (a *Attachment) Lost(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.finished:
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("the conversation with the servers has ended: %w", errors.Join(errEnded, a.ended))
}

var errEnded = errors.New("it cannot go on")

// Servers are the addresses of the log-in servers, with their names resolved.
func (a *Attachment) Servers() []netip.AddrPort { return slices.Clone(a.servers) }

// SetWriteCache tells status of the write cache in front of the disk.
func (a *Attachment) SetWriteCache(c *blockdev.WriteCache) {
	a.mu.Lock()
	a.cache = c
	a.mu.Unlock()
}

// SetBoot tells the servers when this machine reached which stage of its boot, and for how long its kernel has run: so they
// know how long its firmware took, whoever of them serves when and for how long.
func (a *Attachment) SetBoot(t wire.BootTimes) {
	t.UptimeMS = uint32(min(max(time.Duration(stream.Now()).Milliseconds(), 1), math.MaxUint32))
	a.client.SetBoot(t)
}

// Server is the name of the server that serves now; empty while none does.
func (a *Attachment) Server() string { return a.client.Snapshot().Server }

// wall is an instant of the client as time of the day.
func (a *Attachment) wall(t stream.Instant) time.Time {
	return a.start.Add(t.Sub(a.origin)).Round(0)
}

// event takes what the client tells. It is called with the client's lock held.
func (a *Attachment) event(e stream.Event) {
	at := a.wall(e.At)
	a.mu.Lock()
	switch e.Kind {
	case engine.EventServing, engine.EventMoved:
		a.waiting = ""
	case engine.EventWaiting:
		a.waiting = waitingText(e.Text)
	case engine.EventDenied:
		a.waiting = fmt.Sprintf("%s (%s) refuses: %s", e.From, e.Addr, e.Text)
	}
	if e.Kind == engine.EventMoved {
		a.moves = append(a.moves, Move{At: at, From: e.From, To: e.To, Reason: e.Reason.String(), Pause: e.Pause})
		a.moves = a.moves[max(0, len(a.moves)-movesKept):]
	}
	if e.Kind == engine.EventServing {
		a.served = e.Disk
	}
	a.mu.Unlock()
	clock := at.Format(clockFormat)
	switch e.Kind {
	case engine.EventServing:
		a.line(fmt.Sprintf("%s %s (%s) serves %s @ %d, %s, root %x…%x", clock, e.To, e.Addr, e.Disk.Name, e.Disk.Number,
			size(e.Disk.Size), e.Disk.Content.Root[:2], e.Disk.Content.Root[31:]))
	case engine.EventMoved:
		a.line(Move{At: at, From: e.From, To: e.To, Reason: e.Reason.String(), Pause: e.Pause}.String())
	case engine.EventWaiting:
		a.line(clock + " " + e.Text)
	case engine.EventDenied:
		a.line(fmt.Sprintf("%s %s (%s) refuses: %s", clock, e.From, e.Addr, e.Text))
	case engine.EventDamaged:
		a.seldom(at, e.From+" "+a.damageText(e)+"; another server is asked")
	case engine.EventNoGoodCopy:
		a.mu.Lock()
		a.lacking = e.Text
		a.mu.Unlock()
	case engine.EventNote:
		a.line(clock + " " + e.Text)
	}
}

// damageText says what is wrong with a server's copy, and what its administrator can do.
func (a *Attachment) damageText(e stream.Event) string {
	if e.Code == wire.CodeStoreGone {
		return "cannot read its store; its log says why"
	}
	a.mu.Lock()
	name, number := a.served.Name, a.served.Number
	a.mu.Unlock()
	return fmt.Sprintf("has a damaged copy of %s of %s version %d (there: spate vdisk verify %s@%d --store DIR)", object(e.Level, e.Index), name, number, name, number)
}

// waitingText is why no server serves, for status, which says by itself that none
// does: the first clause says so too, and since when at the time it was told.
func waitingText(told string) string {
	if _, why, more := strings.Cut(told, "; "); more {
		return why
	}
	return told
}

// object names a chunk or an index page.
func object(level uint8, index int64) string {
	if level == 0 {
		return fmt.Sprintf("chunk %d", index)
	}
	return fmt.Sprintf("index page %d of level %d", index, level)
}

const (
	// seldomAgain is when a line about damage is repeated at the earliest: a system tries a bad sector many times.
	seldomAgain = 10 * time.Second
	seldomKept  = 256
)

// seldom tells a line unless it was told a moment ago.
func (a *Attachment) seldom(at time.Time, text string) {
	a.mu.Lock()
	last, known := a.told[text]
	again := !known || at.Sub(last) >= seldomAgain
	if again {
		if len(a.told) >= seldomKept {
			clear(a.told)
		}
		a.told[text] = at
	}
	a.mu.Unlock()
	if again {
		a.line(at.Format(clockFormat) + " " + text)
	}
}

// Failed notes a read that failed, and says which.
func (a *Attachment) Failed(err error) {
	text := "read failed: " + err.Error()
	a.mu.Lock()
	a.errors++
	if errors.Is(err, engine.ErrNoGoodCopy) && a.lacking != "" {
		text += ": " + a.lacking + fmt.Sprintf("; on these servers: spate vdisk verify %s@%d --store DIR, and bring a sound copy of the file to one of them",
			a.served.Name, a.served.Number)
	}
	a.mu.Unlock()
	a.seldom(time.Now(), text)
}

// Device is the disk for programs: reads that fail are noted.
func (a *Attachment) Device() blockdev.Device { return device{a.Disk, a} }

type device struct {
	*remote.Disk
	a *Attachment
}

// ReadAt implements blockdev.Device.
func (d device) ReadAt(ctx context.Context, p []byte, off int64) error {
	err := d.Disk.ReadAt(ctx, p, off)
	if err != nil && ctx.Err() == nil && !errors.Is(err, blockdev.ErrClosed) {
		d.a.Failed(err)
	}
	return err
}

// Status describes the attachment as it is now.
func (a *Attachment) Status() Status {
	snap := a.client.Snapshot()
	s := Status{PID: os.Getpid(), Attached: a.where, Asked: a.asked, Cipher: a.cipher.String()}
	s.fill(snap, a.client.Offloads(), a.wall)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Disk != nil {
		st := a.Disk.Stats()
		s.DiskBytes, s.ReadHits = st.DiskBytes, st.HitRate()
	}
	if now := time.Now(); now.Sub(a.rateAt) >= rateEvery/2 {
		if !a.rateAt.IsZero() {
			a.rate = float64(s.Bytes-a.bytes) / now.Sub(a.rateAt).Seconds()
		}
		a.rateAt, a.bytes = now, s.Bytes
	}
	s.Rate = a.rate
	s.Moves = append([]Move(nil), a.moves...)
	s.Errors, s.Waiting = a.errors, a.waiting
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
