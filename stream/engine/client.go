package engine

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// Errors of reads. Both are final for that read only.
var (
	// ErrNoGoodCopy: every server that could be asked has a damaged copy.
	ErrNoGoodCopy = errors.New("no server has a good copy")
	// ErrNoServer: no server answered for as long as ClientConfig.FailAfter allows.
	ErrNoServer = errors.New("no server answers")
	// ErrTooMany: MaxFetches are in work already.
	ErrTooMany = errors.New("too many reads at once")
	// ErrClosed: the client has left.
	ErrClosed = errors.New("client closed")
)

// ClientConfig is what a client needs to know before its first log-in.
type ClientConfig struct {
	Farm      secure.PublicKey
	Device    secure.PrivateKey
	PSK       [32]byte // zero: none
	Cipher    wire.Cipher
	Login     wire.Login // what to ask for; the engine fills in what it already uses
	Servers   []netip.AddrPort
	FailAfter time.Duration    // reads fail after so long without any server; 0: never
	Offloads  wire.StatusFlags // of the socket, for status messages
	// MaxWindow bounds the bytes that are asked for and have not come, over all
	// servers: what the socket's receive buffer holds should this process not run
	// for a while. What servers have announced as pending may be as much again. 0
	// stands for as much as the protocol allows.
	MaxWindow int
	Random    io.Reader // secure randomness
}

// Client is the target's side of the protocol: it logs in, pulls, and changes
// servers when it must. It is a value that is stepped: every method is a step
// at the time it is given, and what is to be done afterwards is fetched with
// [Client.Take]. It has no goroutine and no lock; its owner calls it from one
// goroutine at a time.
type Client struct {
	cfg    ClientConfig
	jitter *rand.Rand
	most   int // cfg.MaxWindow, within the protocol's bounds

	servers []*server // sorted by rank
	paths   []*path
	current *path
	disk    wire.Disk
	boot    wire.BootTimes
	bootAt  Instant // when boot.UptimeMS was right
	serving bool    // logged in at least once

	ticket struct {
		blob    []byte
		secret  [32]byte
		expires Instant
	}

	fetches  [fetchSlots]*Fetch // by id
	inWork   int
	demands  int // demand fetches in work
	nextID   uint32
	demand   fetchQueue
	ahead    fetchQueue
	none     fetchQueue // always empty
	deferred []*Fetch   // wait for a path for repair

	move       moving
	nextTry    Instant // earliest start of the next attempt
	lostAt     Instant // since when no server serves, Never when one does
	notice     Instant
	retryDelay time.Duration
	progress   Instant    // last time a demand read moved, or began to wait
	pauseNow   pauseWatch // an EventMoved that waits for its pause
	expected   Instant    // the deadline that was given, to notice oversleep
	closed     bool
	gone       Instant // when a client that leaves does not wait any more

	why        Reason // why the next server is sought
	lastServer *server
	referral   bool // content is known by a referral, no session has come about yet
	restarted  Instant
	repairAt   Instant

	stats Stats
	out   Output
}

// moving is a planned change of server.
type moving struct {
	active bool
	number uint32
	why    Reason
	at     Instant // our slot
	ends   Instant // then we stay; Never when staying is no choice
	to     string  // proposed by the server
	only   bool    // there and nowhere else
}

// pauseWatch holds an EventMoved back until reads flow again, so that it can
// tell the pause.
type pauseWatch struct {
	active bool
	event  Event
	from   Instant
	old    *path // whose server is told the pause with the good-bye; nil when it needs none
}

// NewClient makes a client that does nothing until [Client.Start].
func NewClient(cfg ClientConfig) *Client {
	var seed [16]byte
	readFull(cfg.Random, seed[:])
	c := &Client{
		cfg:      cfg,
		jitter:   rand.New(rand.NewPCG(le64(seed[:8]), le64(seed[8:]))),
		nextID:   uint32(le64(seed[:8])) | 1,
		lostAt:   Never,
		notice:   Never,
		expected: Never,
		most:     maxWindow,
	}
	if cfg.MaxWindow > 0 {
		c.most = min(max(cfg.MaxWindow, minWindow), maxWindow)
	}
	for i, a := range cfg.Servers {
		if len(c.servers) < maxServers {
			c.servers = append(c.servers, &server{addr: a, rank: configuredRank + i, home: configuredRank + i})
		}
	}
	return c
}

// Start begins to log in.
func (c *Client) Start(now Instant) {
	c.progress = now
	c.lose(now)
	c.drive(now)
	c.flush(now)
}

// Disk describes the vDisk, once EventServing has come.
func (c *Client) Disk() wire.Disk { return c.disk }

// Take moves what the steps since the last call ask for into dst, whose old
// contents become invalid.
func (c *Client) Take(dst *Output) {
	dst.reset()
	*dst, c.out = c.out, *dst
}

// Fetch hands a read to the client. f is the client's until it comes back in
// Output.Done. It is sent with the next Flush or any other step, so that
// several reads share a datagram.
func (c *Client) Fetch(now Instant, f *Fetch) error {
	if c.inWork >= MaxFetches {
		return ErrTooMany
	}
	f.avoid, f.alone, f.gone = f.avoid[:0], false, false
	if err := c.take(now, f); err != nil {
		return err
	}
	c.place(f)
	return nil
}

// take gives a fetch an id and a place among those in work.
func (c *Client) take(now Instant, f *Fetch) error {
	if c.closed {
		return ErrClosed
	}
	if c.inWork >= fetchSlots {
		return ErrTooMany
	}
	for c.nextID == 0 || c.fetches[c.nextID%fetchSlots] != nil {
		c.nextID++
	}
	f.begin(now, c.nextID)
	c.fetches[c.nextID%fetchSlots] = f
	c.nextID++
	c.inWork++
	if f.Demand {
		c.demanded(now)
	}
	return nil
}

// demanded counts one demand read more.
func (c *Client) demanded(now Instant) {
	if c.demands == 0 {
		c.progress = now
	}
	c.demands++
}

// Urge turns read-ahead that somebody waits for now into demand.
func (c *Client) Urge(now Instant, f *Fetch) {
	if f.Demand || c.byID(f.id) != f {
		return
	}
	f.Demand = true
	c.demanded(now)
	if f.queue == &c.ahead {
		c.unqueue(f)
		c.enqueue(f)
	}
}

// Reject says that the bytes of a finished fetch do not verify: bad is the
// object. The servers that supplied them are told, and the fetch starts over;
// it must not be touched until it comes back again. A server that supplied all
// of it is not asked for it again; when several did, the next try takes the
// bytes of one only, so that it shows which of them is wrong.
func (c *Client) Reject(now Instant, f *Fetch, level uint8, bad int64) error {
	blamed := append([]ServerID(nil), f.Servers...)
	if err := c.take(now, f); err != nil {
		return err
	}
	if len(blamed) == 1 {
		f.avoid = append(f.avoid, blamed[0])
	}
	f.alone = true
	for _, id := range blamed {
		c.stats.Rejected++
		c.event(now, Event{Kind: EventDamaged, From: c.nameOf(id), Code: wire.CodeDamaged, Text: wire.CodeDamaged.String(), Level: level, Index: bad})
		if p := c.openTo(id); p != nil {
			c.sendFrame(p, wire.Bad{Level: level, Index: uint64(bad)})
		}
	}
	c.place(f)
	return nil
}

// Flush sends what waits to be asked for.
func (c *Client) Flush(now Instant) {
	if !c.closed {
		c.flush(now)
	}
}

// Tick does what is due by time. The owner must first hand in every datagram
// that has already arrived.
func (c *Client) Tick(now Instant) {
	if c.closed {
		c.tickLeft(now)
		return
	}
	if late := c.late(now); late > oversleep {
		c.forgive(now, late)
	}
	paths, n := c.allPaths()
	for _, p := range paths[:n] {
		if p.state == pathOpen {
			c.tickPath(now, p)
		}
	}
	c.tickLeft(now)
	c.drive(now)
	c.flush(now)
	c.sweep(now)
}

// tickLeft repeats the good-byes that are due.
func (c *Client) tickLeft(now Instant) {
	for _, p := range c.paths {
		switch {
		case p.state != pathLeft || now < p.again:
		case c.closed && now >= c.gone:
			p.again = Never
		default:
			c.sayLeave(now, p)
		}
	}
}

// late is for how long this process itself did not run, as far as it knows.
func (c *Client) late(now Instant) time.Duration {
	if c.expected == Never {
		return 0
	}
	return now.Sub(c.expected)
}

// forgive moves the silences of all paths by the time for which this process
// itself did not run.
func (c *Client) forgive(now Instant, late time.Duration) {
	for _, p := range c.paths {
		if p.due != Never {
			p.due = earlier(p.due.Add(late), now)
			p.probed = earlier(p.probed.Add(late), now)
			p.nextProbe = later(p.nextProbe, now)
		}
		if p.hinted != Never {
			p.hinted = now
		}
	}
	c.stats.Oversleeps++
}

// Deadline is when Tick wants to be called next.
func (c *Client) Deadline() Instant {
	d := Never
	for _, p := range c.paths {
		if c.closed {
			d = earlier(d, p.again)
		} else {
			d = earlier(d, c.pathDeadline(p))
		}
	}
	if !c.closed {
		d = earlier(d, c.driveDeadline())
	}
	c.expected = d
	return d
}

// Receive takes one datagram, which it overwrites.
func (c *Client) Receive(now Instant, from netip.AddrPort, datagram []byte) {
	kind, err := wire.Peek(datagram)
	if err != nil {
		c.stats.Malformed++
		return
	}
	index, ok := wire.Index(datagram)
	if !ok {
		c.stats.Malformed++
		return
	}
	if kind == wire.KindHint {
		c.receiveHint(now, from, datagram)
		return
	}
	p := c.byIndex(index)
	if p == nil {
		c.stats.Strangers++
		return
	}
	switch kind {
	case wire.KindSealed:
		c.receiveSealed(now, p, datagram)
	case wire.KindSealedFirst:
		c.receiveFirst(now, p, from, datagram)
	case wire.KindWelcome:
		c.receiveWelcome(now, p, from, datagram)
	case wire.KindCookie:
		c.receiveCookie(now, p, datagram)
	default:
		c.stats.Malformed++
	}
}

// Unreachable takes the network's word that nobody listens at an address. It
// is a hint: whoever can forge it must not be able to end a session with it.
func (c *Client) Unreachable(now Instant, addr netip.AddrPort) {
	c.stats.Hints++
	if p := c.current; p != nil && p.server.addr == addr && now.Sub(p.heard) > tickLong && !p.pingDue {
		c.ping(now, p)
	}
}

// Leave ends all sessions. Reads in work come back with ErrClosed. Until Gone
// tells that the servers have heard it, the client wants to be stepped further.
func (c *Client) Leave(now Instant) {
	if c.closed {
		return
	}
	c.closed, c.gone = true, now.Add(leaveWait)
	for _, f := range c.fetches {
		if f != nil {
			c.finish(now, f, ErrClosed)
		}
	}
	c.current = nil
	c.paths = slices.DeleteFunc(c.paths, func(p *path) bool { return p.state != pathOpen })
	for _, p := range c.paths {
		c.leave(now, p, wire.LeaveDetached)
	}
}

// Gone tells whether a client that leaves is done: every server has heard it, or
// there is no time left.
func (c *Client) Gone() bool {
	return c.closed && !slices.ContainsFunc(c.paths, func(p *path) bool { return p.again != Never })
}

func (c *Client) byID(id uint32) *Fetch {
	if f := c.fetches[id%fetchSlots]; f != nil && f.id == id {
		return f
	}
	return nil
}

// allPaths is a copy to go through while paths come and go.
func (c *Client) allPaths() (paths [maxPaths]*path, n int) {
	return paths, copy(paths[:], c.paths)
}

func (c *Client) byIndex(index uint32) *path {
	for _, p := range c.paths {
		if p.index == index {
			return p
		}
	}
	return nil
}

func (c *Client) openTo(id ServerID) *path {
	for _, p := range c.paths {
		if p.state == pathOpen && p.server.named && p.server.id == id {
			return p
		}
	}
	return nil
}

func (c *Client) nameOf(id ServerID) string {
	for _, s := range c.servers {
		if s.named && s.id == id {
			return s.label()
		}
	}
	return "a server"
}

func (c *Client) event(now Instant, e Event) {
	e.At = now
	c.out.Events = append(c.out.Events, e)
}

// finish gives a fetch back.
func (c *Client) finish(now Instant, f *Fetch, err error) {
	c.unqueue(f)
	c.unlist(f)
	for len(f.asks) > 0 {
		f.drop(len(f.asks) - 1)
	}
	f.only, f.source = nil, nil
	f.Err, f.Total = err, f.limit
	c.fetches[f.id%fetchSlots] = nil
	c.inWork--
	if f.Demand {
		c.demands--
		c.moved(now)
	}
	c.stats.Reads++
	c.out.Done = append(c.out.Done, f)
}

// moved notes that demand reads make progress.
func (c *Client) moved(now Instant) {
	pause := now.Sub(c.progress)
	c.progress = now
	if pause > c.stats.LongestPause {
		c.stats.LongestPause, c.stats.LongestPauseAt = pause, now
	}
	if c.pauseNow.active {
		c.tellMove(pause)
	}
}

// sweep forgets paths that have ended.
func (c *Client) sweep(now Instant) {
	keep := c.paths[:0]
	for _, p := range c.paths {
		if p.state == pathLeft && now >= p.closes {
			continue
		}
		keep = append(keep, p)
	}
	clear(c.paths[len(keep):])
	c.paths = keep
}
