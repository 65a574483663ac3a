package engine

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// world is a farm in one goroutine: servers, targets, links and disks, with a
// clock that jumps from event to event. All that happens follows from the seed.
type world struct {
	t       testing.TB
	seed    uint64
	now     Instant
	rng     *rand.Rand
	queue   eventQueue
	order   uint64
	still   int // events without time passing: a loop
	farm    *secure.Farm
	image   *simImage
	servers []*simServer
	clients []*simClient
	byAddr  map[netip.AddrPort]node
	nonces  map[nonce][32]byte
	trace   func(string, ...any)
}

type nonce struct {
	key     [8]byte
	counter uint64
}

type node interface {
	arrive(from netip.AddrPort, b []byte)
	ends() *ends
}

// ends are the two directions of a node's access link and its troubles.
type ends struct {
	addr     netip.AddrPort
	up, down link
	loss     float64 // of each datagram, each way
	dup      float64
	jitter   time.Duration // random extra delay: reordering
	cut      bool          // nothing passes
}

// link is a queue with a rate.
type link struct {
	rate   float64 // bytes a second, 0: unlimited
	delay  time.Duration
	limit  int // bytes in the queue, 0: unlimited
	freeAt Instant
	peak   time.Duration // longest time spent in the queue since resetPeaks
	sum    time.Duration
	n      int
	bytes  int
}

// pass says when a datagram of n bytes that enters now leaves at the other end.
func (l *link) pass(now Instant, n int) (Instant, bool) {
	start := later(now, l.freeAt)
	if wait := start.Sub(now); l.rate > 0 {
		if l.limit > 0 && wait.Seconds()*l.rate+float64(n) > float64(l.limit) {
			return 0, false
		}
		l.peak = max(l.peak, wait)
		l.sum += wait
		l.n++
		start = start.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
		l.freeAt = start
	}
	l.bytes += n
	return start.Add(l.delay), true
}

type event struct {
	at    Instant
	order uint64
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

func (w *world) at(t Instant, do func()) {
	w.order++
	heap.Push(&w.queue, event{later(t, w.now), w.order, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

// run steps until done says so or the time is over.
func (w *world) run(limit time.Duration, done func() bool) bool {
	end := w.now.Add(limit)
	for len(w.queue) > 0 && w.queue[0].at <= end {
		if done != nil && done() {
			return true
		}
		e := heap.Pop(&w.queue).(event)
		if e.at > w.now {
			w.still = 0
		}
		if w.still++; w.still > 1<<17 {
			w.t.Fatalf("seed %d: time stands still at %v", w.seed, w.now)
		}
		w.now = e.at
		e.do()
	}
	if done != nil && done() {
		return true
	}
	w.now = end
	return false
}

// seededReader is a reader of reproducible bytes.
type seededReader struct{ *rand.ChaCha8 }

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5b47e)), byAddr: map[netip.AddrPort]node{}, nonces: map[nonce][32]byte{},
		now: Instant(time.Hour), trace: func(string, ...any) {},
	}
	var secret [32]byte
	binary.LittleEndian.PutUint64(secret[:], seed+1)
	w.farm = secure.NewFarm(secret)
	w.image = newSimImage(w.rng, 512)
	return w
}

func (w *world) reader() seededReader {
	var s [32]byte
	for i := range 4 {
		binary.LittleEndian.PutUint64(s[8*i:], w.rng.Uint64())
	}
	return seededReader{rand.NewChaCha8(s)}
}

// send carries one datagram from node to node.
func (w *world) send(from *ends, to netip.AddrPort, b []byte) {
	n, ok := w.byAddr[to]
	if !ok {
		return
	}
	dst := n.ends()
	const overhead = 28
	leave, ok := from.up.pass(w.now, len(b)+overhead)
	if !ok || from.cut || dst.cut || w.rng.Float64() < from.loss || w.rng.Float64() < dst.loss {
		return
	}
	b = bytes.Clone(b)
	copies := 1
	if w.rng.Float64() < from.dup+dst.dup {
		copies = 2
	}
	for range copies {
		at := leave
		if j := from.jitter + dst.jitter; j > 0 && w.rng.IntN(4) == 0 {
			at = at.Add(time.Duration(w.rng.Int64N(int64(j))))
		}
		w.at(at, func() {
			if arrive, ok := dst.down.pass(w.now, len(b)+overhead); ok && !dst.cut {
				w.at(arrive, func() { n.arrive(from.addr, bytes.Clone(b)) })
			}
		})
	}
}

// once fails when a key seals two different datagrams under one counter.
func (w *world) once(key [8]byte, b []byte) {
	kind, _ := wire.Peek(b)
	if kind != wire.KindSealed && kind != wire.KindSealedFirst {
		return
	}
	n := nonce{key, binary.LittleEndian.Uint64(b[8:])}
	var tail [32]byte
	copy(tail[:], b[max(0, len(b)-32):])
	if _, used := w.nonces[n]; used {
		w.t.Fatalf("seed %d: key %x seals counter %d twice", w.seed, key, n.counter)
	}
	w.nonces[n] = tail
}

// simImage is a vDisk as the wire sees it: objects of stored bytes.
type simImage struct {
	disk   wire.Disk
	levels [][][]byte
}

const simChunk = 8192

func newSimImage(rng *rand.Rand, chunks int) *simImage {
	im := &simImage{disk: wire.Disk{
		Name: "sim", Number: 1, Size: int64(chunks) * simChunk, SectorSize: 512, ChunkSize: simChunk, Mode: wire.ModeStandard,
		Content: wire.Content{Timestamp: 42},
	}}
	for i := range im.disk.Content.Root {
		im.disk.Content.Root[i] = byte(rng.Uint32())
	}
	level := make([][]byte, chunks)
	for i := range level {
		var n int
		switch rng.IntN(4) {
		case 0: // zero chunk
		case 1:
			n = simChunk
		default:
			n = 1 + rng.IntN(simChunk)
		}
		level[i] = randomBytes(rng, n)
	}
	im.levels = append(im.levels, level)
	for n := (chunks + Fanout - 1) / Fanout; ; n = (n + Fanout - 1) / Fanout {
		pages := make([][]byte, n)
		for i := range pages {
			pages[i] = randomBytes(rng, 36*min(Fanout, len(im.levels[len(im.levels)-1])-i*Fanout))
		}
		im.levels = append(im.levels, pages)
		im.disk.Levels++
		if n == 1 {
			return im
		}
	}
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b
}

func (im *simImage) answer(level uint8, first int64, count int) []byte {
	var b []byte
	for _, o := range im.levels[level][first : first+int64(count)] {
		b = append(b, o...)
	}
	return b
}

type simBuffer []byte

func (b simBuffer) Bytes() []byte { return b }
func (b simBuffer) Free()         {}

// simServer is a server's shell in the simulation: the same steps as the real
// one, without goroutines.
type simServer struct {
	w        *world
	name     string
	id       ServerID
	e        ends
	front    *Server
	cookies  *secure.Cookies
	sessions map[uint32]*Session
	list     []*Session // in order of their making: maps have none
	egress   Schedule
	sending  bool
	disk     func() time.Duration // time of one read
	damaged  map[int64]bool       // chunks with a flipped bit
	fenced   map[int64]bool
	frozen   bool
	backlog  []func()
	dead     bool
	life     int // start number: callbacks of an earlier life are void
	ticking  Instant
	full     bool
	away     time.Duration // deadline of a running stop
	received map[netip.AddrPort]int
	sent     map[netip.AddrPort]int
	known    map[netip.AddrPort]bool // addresses that have proven themselves
	buf      [maxTrain]byte
	moved    int
	pause    time.Duration
	reads    int // of the disk
}

func (w *world) addServer(name string) *simServer {
	s := &simServer{w: w, name: name, disk: func() time.Duration { return 200 * time.Microsecond }, damaged: map[int64]bool{}, fenced: map[int64]bool{}}
	copy(s.id[:], name+"----------------")
	s.e = ends{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + len(w.servers))}), 6910)}
	w.servers = append(w.servers, s)
	w.byAddr[s.e.addr] = s
	s.start()
	return s
}

func (s *simServer) ends() *ends { return &s.e }

func (s *simServer) start() {
	s.life++
	s.dead, s.frozen, s.sending = false, false, false
	s.sessions, s.list, s.egress, s.backlog = map[uint32]*Session{}, nil, Schedule{}, nil
	s.received, s.sent, s.known = map[netip.AddrPort]int{}, map[netip.AddrPort]int{}, map[netip.AddrPort]bool{}
	s.cookies = secure.NewCookies(s.w.farm)
	s.ticking = Never
	s.front = NewServer(s.w.now, ServerConfig{
		ID: s.id, Name: s.name, Farm: s.w.farm, Cookies: s.cookies, Admitter: s, Random: s.w.reader(), Epoch: 1,
	})
}

// Admit accepts everyone while the server is not full.
func (s *simServer) Admit(who Who) Decision {
	if who.Resume && who.Content != s.w.image.disk.Content {
		return Decision{Result: wire.ResultDeny, Code: wire.CodeContentChanged}
	}
	if s.full && !who.Resume {
		d := Decision{Result: wire.ResultRefer, Disk: s.w.image.disk}
		for _, o := range s.w.servers {
			if o != s {
				d.Refer = append(d.Refer, wire.Referral{Name: o.name, ID: o.id, Addr: o.e.addr})
				break
			}
		}
		return d
	}
	return Decision{Result: wire.ResultAccept, Disk: s.w.image.disk}
}

func (s *simServer) Confirmed(*Session) {}
func (s *simServer) Ended(*Session)     {}

func (s *simServer) Alternates(who Who, _ wire.Content) wire.Alternates {
	var a wire.Alternates
	k := int(who.MAC[5])
	for i := range s.w.servers {
		o := s.w.servers[(i+k)%len(s.w.servers)]
		if o != s {
			a.List = append(a.List, wire.Alternate{Name: o.name, ID: o.id, Addr: o.e.addr, State: wire.StateServing})
		}
	}
	return a
}

// do runs f now, or when the server thaws.
func (s *simServer) do(f func()) {
	life := s.life
	switch {
	case s.dead:
	case s.frozen:
		if len(s.backlog) < 4096 {
			s.backlog = append(s.backlog, f)
		}
	case life == s.life:
		f()
	}
}

func (s *simServer) later(d time.Duration, f func()) {
	life := s.life
	s.w.after(d, func() {
		if life == s.life {
			s.do(f)
		}
	})
}

func (s *simServer) arrive(from netip.AddrPort, b []byte) {
	s.do(func() {
		s.received[from] += len(b)
		s.receive(from, b)
		s.pump()
	})
}

func (s *simServer) index() uint32 {
	for {
		if i := s.w.rng.Uint32(); i != 0 && s.sessions[i] == nil {
			return i
		}
	}
}

func (s *simServer) receive(from netip.AddrPort, b []byte) {
	kind, err := wire.Peek(b)
	if err != nil {
		return
	}
	now := s.w.now
	switch kind {
	case wire.KindHello:
		g, hint, err := s.front.Greet(from, netip.Addr{}, b)
		if err != nil {
			s.reply(from, hint)
			return
		}
		index := s.index()
		d, reply := s.front.Decide(now, g, index)
		welcome, sess, err := g.Welcome(now, s.w.reader(), d, reply, index)
		if err != nil {
			s.w.t.Fatalf("welcome: %v", err)
		}
		if sess != nil {
			s.add(sess)
		}
		s.reply(from, welcome)
	case wire.KindResume:
		r := s.front.Resume(now, from, netip.Addr{}, b, s.index())
		if r.Made {
			s.add(r.Session)
		}
		if r.Session != nil {
			s.known[from] = s.known[from] || r.Session.credit > 0
			r.Session.Flight(now, from, r.Frames)
		}
		s.reply(from, r.Answer)
	case wire.KindSealed:
		index, _ := wire.Index(b)
		sess := s.sessions[index]
		if sess == nil {
			s.reply(from, s.front.Unknown(now, b))
			return
		}
		was := sess.Confirmed()
		sess.Receive(now, from, netip.Addr{}, b)
		if sess.Confirmed() {
			if !was {
				s.front.Settled()
			}
			s.known[sess.Addr()] = true
		}
	}
}

func (s *simServer) add(sess *Session) {
	s.sessions[sess.Index()] = sess
	s.list = append(s.list, sess)
}

func (s *simServer) reply(to netip.AddrPort, b []byte) {
	if len(b) > 0 {
		s.transmit(to, b)
	}
}

// transmit sends and checks the oracle of amplification.
func (s *simServer) transmit(to netip.AddrPort, b []byte) {
	s.sent[to] += len(b)
	if !s.known[to] && s.sent[to] > s.received[to] {
		s.w.t.Fatalf("seed %d: %s sent %d bytes to %s, which sent %d and has proven nothing", s.w.seed, s.name, s.sent[to], to, s.received[to])
	}
	s.w.send(&s.e, to, b)
}

// pump does what the engines ask for: offers, reads, sending, timers.
func (s *simServer) pump() {
	now := s.w.now
	keep := s.list[:0]
	for _, sess := range s.list {
		if sess.Wants() && sess.Confirmed() || sess.Wants() && sess.fresh {
			s.front.Offer(now, sess)
		}
		for _, j := range sess.Jobs(nil) {
			s.read(j)
		}
		if sess.HasOutput() {
			s.egress.Add(sess)
		}
		if sess.Ended() && !sess.HasOutput() {
			if sess.Stats.Left == wire.LeaveMoved {
				s.moved++
				s.pause = max(s.pause, sess.Stats.Pause)
			}
			s.front.Forget(sess)
			delete(s.sessions, sess.Index())
			continue
		}
		keep = append(keep, sess)
	}
	s.list = keep
	s.send()
	s.arm()
}

// send empties the egress as fast as the link takes it.
func (s *simServer) send() {
	if s.sending {
		return
	}
	for s.egress.Len() > 0 {
		if wait := s.e.up.freeAt.Sub(s.w.now); s.e.up.rate > 0 && wait.Seconds()*s.e.up.rate > 32<<10 {
			s.sending = true
			s.later(wait/2, func() { s.sending = false; s.send(); s.arm() })
			return
		}
		sess, limit := s.egress.Next()
		t := sess.Fill(s.w.now, s.buf[:], limit)
		for at := 0; at < len(t.Data); at += t.Segment {
			b := t.Data[at:min(at+t.Segment, len(t.Data))]
			s.w.once(sess.sealer.Fingerprint(), b)
			s.transmit(t.To, b)
		}
		for _, j := range sess.Jobs(nil) {
			s.read(j)
		}
		s.egress.Sent(sess, len(t.Data))
	}
}

func (s *simServer) read(j Job) {
	s.reads++
	s.later(s.disk(), func() {
		if j.Slot == CheckSlot {
			if j.Level == 0 && s.damaged[j.First] {
				s.fenced[j.First] = true
			}
			return
		}
		whole := s.w.image.answer(j.Level, j.First, j.Count)
		if j.Level == 0 {
			at := 0
			for i := j.First; i < j.First+int64(j.Count); i++ {
				n := len(s.w.image.levels[0][i])
				if s.fenced[i] {
					j.Session.Fail(j, i, wire.CodeDamaged)
					s.pump()
					return
				}
				if s.damaged[i] && n > 0 {
					whole[at] ^= 1
				}
				at += n
			}
		}
		from, to := min(j.From, len(whole)), min(j.To, len(whole), j.From+128<<10)
		j.Session.Complete(s.w.now, j, simBuffer(whole[from:to]), len(whole))
		s.pump()
	})
}

// arm sets the timer for the nearest deadline.
func (s *simServer) arm() {
	d := s.front.Deadline()
	for _, sess := range s.list {
		d = earlier(d, sess.Deadline())
	}
	if d >= s.ticking {
		return
	}
	s.ticking = d
	s.later(max(0, d.Sub(s.w.now)), func() {
		s.ticking = Never
		s.front.Tick(s.w.now)
		for _, sess := range s.list {
			sess.Tick(s.w.now)
		}
		s.pump()
	})
}

// stop is the planned stop of the stream service.
func (s *simServer) stop(deadline time.Duration) {
	s.do(func() {
		s.front.Stop()
		n := 0
		for _, sess := range s.list {
			if sess.Ended() {
				continue
			}
			slot := Slot(n, len(s.list), deadline)
			alts := s.Alternates(sess.Who, sess.Disk.Content)
			proposed := ""
			if len(alts.List) > 0 {
				proposed = alts.List[0].Name
			}
			sess.GoAway(s.w.now, wire.GoingAway{
				Number: 1, Reason: wire.AwayStopped, SlotMS: uint32(slot.Milliseconds()), Proposed: proposed,
			}, s.w.now.Add(deadline))
			sess.Tick(s.w.now)
			n++
		}
		s.pump()
	})
}

func (s *simServer) crash() { s.dead, s.life = true, s.life+1 }

func (s *simServer) freeze() { s.frozen = true }

func (s *simServer) thaw() {
	s.frozen = false
	run := s.backlog
	s.backlog = nil
	for _, f := range run {
		s.do(f)
	}
}

// simClient is a target: it keeps some reads under way and checks each byte.
type simClient struct {
	w         *world
	name      string
	e         ends
	c         *Client
	out       Output
	ticking   Instant
	depth     int // reads at once
	run       int // chunks a read
	random    bool
	next      int64
	left      int // reads still to begin; negative: for ever
	open      int
	done      int
	got       int // bytes of answers
	lastDone  Instant
	longest   time.Duration // of a demand read
	failed    []error
	events    []Event
	progress  []Instant
	frozen    bool
	backlog   [][2]any
	readAhead bool
}

func (w *world) addClient(depth, run, reads int, servers ...*simServer) *simClient {
	n := len(w.clients)
	c := &simClient{w: w, name: fmt.Sprintf("target-%d", n), depth: depth, run: run, left: reads, ticking: Never}
	c.e = ends{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 6901)}
	if len(servers) == 0 {
		servers = w.servers
	}
	var addrs []netip.AddrPort
	for _, s := range servers {
		addrs = append(addrs, s.e.addr)
	}
	cfg := ClientConfig{
		Farm: w.farm.Public(), Cipher: wire.CipherAES256GCM, Servers: addrs, Random: w.reader(),
		Login: wire.Login{MAC: [6]byte{2, 0, 0, 0, byte(n >> 8), byte(n)}, VDisk: "sim", Number: wire.NewestVersion},
	}
	readFull(cfg.Random, cfg.Device[:])
	c.c = NewClient(cfg)
	w.clients = append(w.clients, c)
	w.byAddr[c.e.addr] = c
	return c
}

func (c *simClient) ends() *ends { return &c.e }

func (c *simClient) start() {
	c.c.Start(c.w.now)
	c.pump()
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
	c.c.takeTicket(c.w.now, t)
}

func (c *simClient) arrive(from netip.AddrPort, b []byte) {
	if c.frozen {
		if len(c.backlog) < 2048 {
			c.backlog = append(c.backlog, [2]any{from, b})
		}
		return
	}
	c.c.Receive(c.w.now, from, b)
	c.c.Flush(c.w.now)
	c.pump()
}

func (c *simClient) thaw() {
	c.frozen = false
	for _, e := range c.backlog {
		c.c.Receive(c.w.now, e[0].(netip.AddrPort), e[1].([]byte))
	}
	c.backlog = nil
	c.c.Tick(c.w.now)
	c.pump()
}

// pump carries out what the engine asks for until nothing is left.
func (c *simClient) pump() {
	for {
		c.c.Take(&c.out)
		if c.out.Empty() {
			break
		}
		for _, d := range c.out.Sends {
			c.audit(d.Data)
			c.w.send(&c.e, d.To, d.Data)
		}
		for _, e := range c.out.Events {
			c.events = append(c.events, e)
			c.w.trace("%v %s event %d %s -> %s %s pause %s %s", c.w.now, c.name, e.Kind, e.From, e.To, e.Reason, e.Pause, e.Text)
		}
		for _, f := range c.out.Done {
			c.finish(f)
		}
		c.begin()
	}
	c.begin()
	if !c.out.Empty() || len(c.c.out.Sends) > 0 {
		c.w.after(0, c.pump)
	}
	c.arm()
}

func (c *simClient) audit(b []byte) {
	index, _ := wire.Index(b)
	for _, p := range c.c.paths {
		if p.sealer != nil && p.peer == index {
			c.w.once(p.sealer.Fingerprint(), b)
		}
	}
}

func (c *simClient) begin() {
	if !c.c.serving {
		return
	}
	for c.open < c.depth && c.left != 0 {
		n := int64(len(c.w.image.levels[0]))
		f := &Fetch{Count: c.run, Demand: !c.readAhead, Expect: -1, Buf: make([]byte, c.run*simChunk)}
		f.First = c.next
		if c.random {
			f.First = c.w.rng.Int64N(n)
		}
		f.Count = int(min(int64(f.Count), n-f.First))
		f.Buf = f.Buf[:f.Count*simChunk]
		c.next = (f.First + int64(f.Count)) % n
		if c.random && c.w.rng.IntN(8) == 0 {
			f.Level, f.First, f.Count = 1, f.First/Fanout, 1
			f.Buf = f.Buf[:min(len(f.Buf), PageBound)]
		}
		if err := c.c.Fetch(c.w.now, f); err != nil {
			return
		}
		f.Owner = c.w.now
		c.open++
		c.left--
	}
	c.c.Flush(c.w.now)
}

// finish checks a read: the oracle of right bytes.
func (c *simClient) finish(f *Fetch) {
	if f.Err != nil {
		c.open--
		c.failed = append(c.failed, f.Err)
		return
	}
	want := c.w.image.answer(f.Level, f.First, f.Count)
	if !bytes.Equal(want, f.Buf[:f.Total]) {
		// As the real target does: the bytes do not verify.
		bad := f.First
		at := 0
		for i := f.First; f.Level == 0 && i < f.First+int64(f.Count); i++ {
			n := len(c.w.image.levels[0][i])
			if f.Total != len(want) || !bytes.Equal(want[at:at+n], f.Buf[at:at+n]) {
				bad = i
				break
			}
			at += n
		}
		if !c.w.anyDamage(bad) {
			c.w.t.Fatalf("seed %d: %s got wrong bytes for object %d/%d+%d", c.w.seed, c.name, f.Level, f.First, f.Count)
		}
		if err := c.c.Reject(c.w.now, f, f.Level, bad); err != nil {
			c.w.t.Fatal(err)
		}
		return
	}
	c.open--
	c.done++
	c.got += f.Total
	c.longest = max(c.longest, c.w.now.Sub(f.Owner.(Instant)))
	c.lastDone = c.w.now
	c.progress = append(c.progress, c.w.now)
}

func (w *world) anyDamage(i int64) bool {
	for _, s := range w.servers {
		if s.damaged[i] {
			return true
		}
	}
	return false
}

func (c *simClient) arm() {
	d := c.c.Deadline()
	if d >= c.ticking && c.ticking > c.w.now {
		return
	}
	c.ticking = d
	if d == Never {
		return
	}
	c.w.at(d, func() {
		if c.ticking == Never || c.w.now < c.ticking || c.frozen {
			return
		}
		c.ticking = Never
		c.c.Tick(c.w.now)
		c.pump()
	})
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
