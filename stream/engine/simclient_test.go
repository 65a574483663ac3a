package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// simClient is a target: it keeps some reads under way and checks each byte.
type simClient struct {
	w         *world
	name      string
	e         ends
	offset    time.Duration // of its clock
	c         *Client
	out       Output
	timer     Instant
	depth     int           // reads at once
	run       int           // chunks a read
	random    bool          // where it reads
	rest      time.Duration // between two reads
	readAhead bool
	known     bool // it knows the length of answers beforehand
	next      int64
	left      int // reads still to begin; negative: for ever
	open      int
	resting   int
	done      int
	got       int // bytes of answers
	marked    int // of got, at the last mark
	failed    []error
	moves     []Event
	events    []Event
	stalled   Instant       // since when reads wait, Never when none does
	longest   time.Duration // time for which reads stood still, since the last mark
	slowest   time.Duration // of all reads
	frozen    bool
	backlog   []func()
	waiting   map[*Fetch]bool
	spare     []*Fetch
}

func (w *world) addClient(depth, run, reads int, servers ...*simServer) *simClient {
	n := len(w.clients)
	c := &simClient{
		w: w, name: fmt.Sprintf("target-%d", n), depth: depth, run: run, left: reads, timer: Never, stalled: Never, waiting: map[*Fetch]bool{},
		offset: time.Duration(w.rng.Int64N(int64(time.Hour))),
	}
	c.e = ends{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 6901)}
	if len(servers) == 0 {
		servers = w.servers
	}
	cfg := ClientConfig{
		Farm: w.farm.Public(), Cipher: wire.CipherAES256GCM, Random: w.reader(),
		Login: wire.Login{MAC: [6]byte{2, 0, 0, 0, byte(n >> 8), byte(n)}, VDisk: "sim", Number: wire.NewestVersion},
	}
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.e.addr)
	}
	readFull(cfg.Random, cfg.Device[:])
	c.c = NewClient(cfg)
	w.clients = append(w.clients, c)
	w.byAddr[c.e.addr] = c
	return c
}

func (c *simClient) ends() *ends { return &c.e }

func (c *simClient) clock() Instant { return c.w.now.Add(c.offset) }

// do runs f now, or when the target thaws.
func (c *simClient) do(f func()) {
	if !c.frozen {
		f()
	} else if len(c.backlog) < 2048 {
		c.backlog = append(c.backlog, f)
	}
}

func (c *simClient) start() {
	c.do(func() {
		c.c.Start(c.clock())
		c.pump()
	})
}

// preheat gives the client a ticket as if it had been served, so that large
// worlds need no handshakes.
func (c *simClient) preheat(s *simServer) {
	who := Who{MAC: c.c.cfg.Login.MAC, Addr: c.e.addr, Key: c.c.cfg.Device.Public()}
	t, err := s.front.ticket(who, c.w.image.disk.Content)
	if err != nil {
		c.w.t.Fatal(err)
	}
	c.c.disk, c.c.serving, c.c.referral = c.w.image.disk, true, true
	c.c.takeTicket(c.clock(), t)
}

// readdress gives the target another address.
func (c *simClient) readdress(a netip.AddrPort) {
	delete(c.w.byAddr, c.e.addr)
	c.e.addr = a
	c.w.byAddr[a] = c
}

func (c *simClient) arrive(from netip.AddrPort, b []byte) {
	c.do(func() {
		bytes := c.c.stats.Bytes
		c.c.Receive(c.clock(), from, b)
		if c.c.stats.Bytes > bytes && c.open > 0 {
			c.moved()
		}
		c.c.Flush(c.clock())
		c.pump()
	})
}

// thaw hands in all that has arrived before it looks at the time.
func (c *simClient) thaw() {
	c.frozen = false
	run := c.backlog
	c.backlog = nil
	for _, f := range run {
		f()
	}
	c.c.Tick(c.clock())
	c.pump()
}

// pump carries out what the engine asks for until nothing is left.
func (c *simClient) pump() {
	for rounds := 0; ; rounds++ {
		c.c.Take(&c.out)
		if c.out.Empty() {
			break
		}
		if rounds > 1<<12 {
			c.w.fail("%s: work without end", c.name)
		}
		for _, d := range c.out.Sends {
			c.audit(d.Data)
			c.w.send(&c.e, d.To, d.Data)
		}
		for _, e := range c.out.Events {
			c.hear(e)
		}
		for _, f := range c.out.Done {
			c.finish(f)
		}
		c.begin()
	}
	c.begin()
	if !c.c.out.Empty() {
		c.pump()
		return
	}
	c.arm()
}

func (c *simClient) hear(e Event) {
	c.events = append(c.events, e)
	if e.Kind == EventMoved {
		c.moves = append(c.moves, e)
	}
	c.w.trace("%s: event %d, %s -> %s, %s, pause %s, %s %s", c.name, e.Kind, e.From, e.To, e.Reason, e.Pause, e.Code, e.Text)
}

// audit shows what the client sends to the oracle of (key, counter) pairs.
func (c *simClient) audit(b []byte) {
	index, _ := wire.Index(b)
	kind, _ := wire.Peek(b)
	for _, p := range c.c.paths {
		switch {
		case kind == wire.KindSealed && p.sealer != nil && p.peer == index:
			c.w.once(p.sealer.Fingerprint(), b)
		case kind == wire.KindResume && p.flight != nil && p.index == index:
			c.w.onceFlight(p.flight.Fingerprint(), b)
		}
	}
}

func (c *simClient) begin() {
	if !c.c.serving || c.frozen {
		return
	}
	for c.open+c.resting < c.depth && c.left != 0 {
		f := c.newFetch()
		if err := c.c.Fetch(c.clock(), f); err != nil {
			return
		}
		f.Owner = c.w.now
		c.waiting[f] = true
		if c.open == 0 {
			c.stalled = c.w.now
		}
		c.open++
		c.left--
	}
	c.c.Flush(c.clock())
}

func (c *simClient) newFetch() *Fetch {
	im := c.w.image
	n := int64(len(im.levels[0]))
	f := &Fetch{}
	if n := len(c.spare); n > 0 {
		f, c.spare = c.spare[n-1], c.spare[:n-1]
	}
	f.Level, f.Count, f.Demand, f.Expect, f.First = 0, c.run, !c.readAhead, -1, c.next
	if c.random {
		f.First = c.w.rng.Int64N(n)
	}
	f.Count = int(min(int64(f.Count), n-f.First))
	c.next = (f.First + int64(f.Count)) % n
	size := f.Count * simChunk
	if c.random && c.w.rng.IntN(8) == 0 {
		f.Level, f.First, f.Count = 1, f.First/Fanout, 1
		size = PageBound
	}
	if c.known {
		size = len(im.answer(f.Level, f.First, f.Count))
		f.Expect = size
	}
	if cap(f.Buf) < size {
		f.Buf = make([]byte, size)
	}
	f.Buf = f.Buf[:size]
	return f
}

// finish checks a read: the oracle of right bytes.
func (c *simClient) finish(f *Fetch) {
	c.moved()
	if f.Err != nil {
		c.failed = append(c.failed, f.Err)
		c.w.trace("%s: read of %d/%d fails: %v", c.name, f.Level, f.First, f.Err)
		c.close(f)
		return
	}
	if bad := c.w.image.firstDifference(f.Level, f.First, f.Count, f.Buf[:f.Total]); bad >= 0 {
		// As the real target does: the bytes do not verify.
		if !c.w.anyDamage(object{f.Level, bad}) {
			c.w.fail("%s got wrong bytes for object %d/%d+%d", c.name, f.Level, f.First, f.Count)
		}
		if err := c.c.Reject(c.clock(), f, f.Level, bad); err != nil {
			c.w.fail("%s: %v", c.name, err)
		}
		return
	}
	c.done++
	c.got += f.Total
	c.slowest = max(c.slowest, c.w.now.Sub(f.Owner.(Instant)))
	c.close(f)
}

func (c *simClient) close(f *Fetch) {
	delete(c.waiting, f)
	c.spare = append(c.spare, f)
	if c.open--; c.open == 0 {
		c.stalled = Never
	}
	if c.rest > 0 {
		c.resting++
		c.w.after(c.rest, func() {
			c.resting--
			c.do(c.pump)
		})
	}
}

// moved notes that reads have not stood still.
func (c *simClient) moved() {
	c.longest = max(c.longest, c.pause())
	c.stalled = c.w.now
}

// pause is for how long reads have stood still.
func (c *simClient) pause() time.Duration {
	if c.stalled == Never {
		return 0
	}
	return c.w.now.Sub(c.stalled)
}

// mark begins the measurement of bytes and pauses anew, and gives the bytes
// since the last one.
func (c *simClient) mark() int {
	n := c.got - c.marked
	c.marked, c.longest = c.got, 0
	return n
}

func (w *world) anyDamage(o object) bool {
	for _, s := range w.servers {
		if s.damaged[o] || s.lies {
			return true
		}
	}
	return false
}

func (c *simClient) arm() {
	d := c.c.Deadline()
	if d >= c.timer {
		return
	}
	c.timer = d
	c.w.at(d.Add(-c.offset), func() {
		if c.timer != d {
			return
		}
		c.timer = Never
		if c.frozen {
			return // the thaw looks at the time
		}
		for again := 0; c.clock() >= c.c.Deadline(); again++ {
			if again > 2 { // what one step leads to may be due at once, but not for ever
				c.w.fail("%s is due again at once: %s", c.name, c.c.whyDue(c.clock()))
			}
			c.c.Tick(c.clock())
		}
		c.pump()
	})
}

// whyDue says which part of a client wants a tick.
func (c *Client) whyDue(now Instant) string {
	for _, p := range c.paths {
		if d := c.pathDeadline(p); d <= now {
			return fmt.Sprintf("path to %s in state %d for %s, current %v, aux %v, suspect %v", p.server.label(), p.state, p.why, p == c.current, p.aux, p.suspect)
		}
	}
	return fmt.Sprintf("lost %v, move %+v, next try %v, deferred %d", c.lostAt != Never, c.move, c.nextTry.Sub(now), len(c.deferred))
}

// serving is the server that serves a target.
func (c *simClient) serving() *simServer {
	for _, s := range c.w.servers {
		if c.c.current != nil && s.e.addr == c.c.current.server.addr {
			return s
		}
	}
	return nil
}

func (c *simClient) finished() bool { return c.left == 0 && c.open == 0 }

func (w *world) allFinished() bool {
	for _, c := range w.clients {
		if !c.finished() {
			return false
		}
	}
	return true
}
