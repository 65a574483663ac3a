package stream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

// ServerConfig is what a server needs. Conns are its sockets, all of one
// address; the server closes them when it ends.
type ServerConfig struct {
	ID       ServerID
	Name     string
	Farm     *secure.Farm
	Admitter Admitter
	Conns    []udp.Conn
	Epoch    uint32
	Log      Logger // nil: silent
	// Now is the machine's own clock; nil stands for CLOCK_BOOTTIME.
	Now func() engine.Instant
	// Random is secure randomness; nil stands for the system's.
	Random io.Reader
}

// Server is the stream service of one server.
type Server struct {
	cfg  ServerConfig
	log  Logger
	now  func() engine.Instant
	rand io.Reader

	cookies *secure.Cookies
	table   *table
	outs    []*egress
	buffers *buffers

	frontMu sync.Mutex
	front   *engine.Server // guarded by frontMu

	poolMu sync.Mutex
	pools  map[string]*pool // guarded by poolMu
	ctx    context.Context  // of Run; guarded by poolMu

	clock    *clock
	hellos   chan hello
	counters counters
	delay    delays
	trouble  sync.Map // store name -> time of the last report
	draining atomic.Pointer[drain]
}

type hello struct {
	from  netip.AddrPort
	local netip.Addr
	data  []byte
	out   *egress
}

// NewServer makes a server that serves from Run on.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = silent{}
	}
	if cfg.Now == nil {
		cfg.Now = bootTime
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, now: cfg.Now, rand: cfg.Random,
		cookies: secure.NewCookies(cfg.Farm), table: newTable(), buffers: newBuffers(),
		pools: make(map[string]*pool), hellos: make(chan hello, helloQueue),
	}
	s.clock = newClock(s)
	s.front = engine.NewServer(s.now(), engine.ServerConfig{
		ID: cfg.ID, Name: cfg.Name, Farm: cfg.Farm, Cookies: s.cookies, Admitter: cfg.Admitter, Random: cfg.Random, Epoch: cfg.Epoch,
	})
	for _, c := range cfg.Conns {
		s.outs = append(s.outs, s.newEgress(c))
	}
	return s
}

// Run serves until ctx ends or a socket fails, closes the sockets and returns
// when nothing of it runs any more.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.poolMu.Lock()
	s.ctx = ctx
	s.poolMu.Unlock()
	var all sync.WaitGroup
	failed := make(chan error, len(s.outs))
	for _, g := range s.outs {
		all.Go(func() { g.run(ctx) })
		all.Go(func() { failed <- (&loop{s: s, g: g}).run() })
	}
	all.Go(func() { s.greet(ctx) })
	all.Go(func() { s.clock.run(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	for _, c := range s.cfg.Conns {
		c.Close() // which ends the receive loops; a second Close is harmless
	}
	all.Wait()
	s.poolMu.Lock()
	defer s.poolMu.Unlock()
	for _, p := range s.pools {
		p.workers.Wait()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// take handles a train. Its datagrams are mostly of one session, whose lock is
// taken once.
func (s *Server) take(l *loop, now engine.Instant, b *udp.Batch) {
	var held *entry
	for d := range b.All() {
		kind, err := wire.Peek(d)
		if err == nil && kind == wire.KindSealed {
			index, _ := wire.Index(d)
			if held == nil || held.session.Index() != index {
				s.release(held, l)
				if held = s.table.find(index); held != nil {
					held.mu.Lock()
				}
			}
			if held != nil {
				held.session.Receive(now, b.From, b.To, d)
				continue
			}
		}
		s.release(held, l)
		held = nil
		s.takeFirst(now, l, kind, err, b, d)
	}
	s.release(held, l)
}

// release does what the datagrams asked for and unlocks the session. l is the
// loop that calls, nil for anybody else.
func (s *Server) release(e *entry, l *loop) {
	if e == nil {
		return
	}
	s.postLocked(e, l)
	ended := e.session.Ended() && !e.session.HasOutput()
	e.mu.Unlock()
	if ended {
		s.finish(e)
	}
}

// takeFirst handles what belongs to no session yet.
func (s *Server) takeFirst(now engine.Instant, l *loop, kind wire.Kind, err error, b *udp.Batch, d []byte) {
	switch {
	case err != nil:
		s.counters.foreign.Add(1)
	case kind == wire.KindHello:
		s.enqueueHello(l.g, b, d)
	case kind == wire.KindResume:
		s.resume(now, l, b, d)
	case kind == wire.KindSealed:
		s.frontMu.Lock()
		answer := s.front.Unknown(now, d)
		s.frontMu.Unlock()
		s.answer(l.g, b.From, b.To, answer)
	default:
		s.counters.foreign.Add(1)
	}
}

// enqueueHello hands a first message to the goroutine of handshakes, which cost
// half a millisecond each. When many wait, an address must prove itself first.
func (s *Server) enqueueHello(g *egress, b *udp.Batch, d []byte) {
	if !s.cookies.Check1(d) {
		// Without the MAC of this farm no key exchange is done; a target of another farm is told that it is one.
		_, hint, _ := s.front.Greet(b.From, b.To, d)
		s.refuseHello(g, b.From, b.To, hint)
		return
	}
	if len(s.hellos) > cookieAbove && !s.cookies.Check2(d, b.From) {
		s.answer(g, b.From, b.To, s.cookies.Reply(nil, d, b.From))
		return
	}
	select {
	case s.hellos <- hello{from: b.From, local: b.To, data: append([]byte(nil), d...), out: g}:
	default:
		s.counters.overflow.Add(1)
	}
}

// greet answers first messages until ctx ends.
func (s *Server) greet(ctx context.Context) {
	for {
		select {
		case h := <-s.hellos:
			s.handshake(h)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) handshake(h hello) {
	greeting, hint, err := s.front.Greet(h.from, h.local, h.data)
	if err != nil {
		s.refuseHello(h.out, h.from, h.local, hint)
		return
	}
	index, ok := s.table.reserve(s.draw)
	if !ok {
		s.counters.overflow.Add(1)
		return
	}
	s.frontMu.Lock()
	d, reply := s.front.Decide(s.now(), greeting, index)
	s.frontMu.Unlock()
	if d.Result == wire.ResultDeny {
		s.log.Info("log-in denied", keyTarget(h.from), keyText("code", d.Code.String()), keyText("sentence", d.Sentence))
	}
	welcome, sess, err := greeting.Welcome(s.now(), s.rand, d, reply, index)
	if err != nil {
		s.log.Error("log-in could not be answered", keyTarget(h.from), keyError(err))
	}
	if sess == nil {
		s.table.drop(index)
	} else {
		s.adopt(sess, d.Image, h.out)
	}
	s.answer(h.out, h.from, h.local, welcome)
}

// refuseHello counts a first message that cannot be opened, and sends the hint that it deserves, if any, now and then.
func (s *Server) refuseHello(g *egress, from netip.AddrPort, local netip.Addr, hint []byte) {
	s.counters.forged.Add(1)
	if len(hint) == 0 {
		return
	}
	s.frontMu.Lock()
	may := s.front.Hint(s.now())
	s.frontMu.Unlock()
	if may {
		s.answer(g, from, local, hint)
	}
}

// resume takes a ticket flight.
func (s *Server) resume(now engine.Instant, l *loop, b *udp.Batch, d []byte) {
	if !s.cookies.Check1(d) {
		s.counters.forged.Add(1)
		return
	}
	index, ok := s.table.reserve(s.draw)
	if !ok {
		s.counters.overflow.Add(1)
		return
	}
	s.frontMu.Lock()
	r := s.front.Resume(now, b.From, b.To, d, index)
	s.frontMu.Unlock()
	if !r.Made {
		s.table.drop(index)
	}
	s.answer(l.g, b.From, b.To, r.Answer)
	if r.Session == nil {
		return
	}
	var e *entry
	if r.Made {
		e = s.adopt(r.Session, r.Session.Image, l.g)
	} else {
		e = r.Session.Owner.(*entry)
	}
	e.mu.Lock()
	e.session.Flight(now, b.From, r.Frames)
	s.release(e, l)
}

// adopt puts a new session in the table.
func (s *Server) adopt(sess *engine.Session, image any, g *egress) *entry {
	e := &entry{session: sess, out: g}
	if im, ok := image.(Image); ok {
		e.image = im
		e.quick, _ = im.(QuickImage) // nil otherwise: the pool reads it
		e.pool = s.poolFor(im.Store())
	}
	sess.Owner = e
	s.table.put(sess.Index(), e)
	s.clock.watch(e)
	return e
}

// answer sends one unsealed datagram.
func (s *Server) answer(g *egress, to netip.AddrPort, local netip.Addr, d []byte) {
	if len(d) == 0 {
		return
	}
	if err := g.conn.Send(d, len(d), udp.Path{Remote: to, Local: local}); err != nil {
		s.counters.dropped.Add(1)
	}
}

func (s *Server) draw() uint32 {
	var b [4]byte
	if _, err := io.ReadFull(s.rand, b[:]); err != nil {
		panic("stream: no randomness: " + err.Error())
	}
	return binary.LittleEndian.Uint32(b[:])
}

func (s *Server) poolFor(store string) *pool {
	s.poolMu.Lock()
	defer s.poolMu.Unlock()
	p := s.pools[store]
	if p == nil {
		p = s.newPool(s.ctx)
		s.pools[store] = p
	}
	return p
}

// postLocked does what a session wants after a step: it is told to the
// admitter, gets its offer, its reads go to the loop l or to the pool, its
// output in line. The session's lock is held.
func (s *Server) postLocked(e *entry, l *loop) {
	sess := e.session
	if sess.Confirmed() && !e.confirmed && !sess.Ended() {
		e.confirmed = true
		if !sess.Who.Resume {
			s.frontMu.Lock()
			s.front.Settled()
			s.frontMu.Unlock()
		}
		s.cfg.Admitter.Confirmed(sess)
		if d := s.draining.Load(); d != nil {
			d.sendAway(e, 0)
		}
	}
	if sess.Wants() && (e.confirmed || sess.Who.Resume) {
		s.frontMu.Lock()
		s.front.Offer(s.now(), sess)
		s.frontMu.Unlock()
	}
	s.submitLocked(e, l)
	if sess.HasOutput() {
		e.out.add(sess)
		if l == nil || l.g != e.out {
			e.out.call()
		}
	}
}

// submitLocked hands a session's reads to the loop or to the pool.
func (s *Server) submitLocked(e *entry, l *loop) {
	var room [16]engine.Job
	for _, j := range e.session.Jobs(room[:0]) {
		switch {
		case l == nil || !l.offer(e, j):
			s.toPoolLocked(e, j)
		case l.late:
			s.clock.hurry(e)
		}
	}
}

// toPoolLocked hands a read to the pool, and has the clock look after it.
func (s *Server) toPoolLocked(e *entry, j engine.Job) {
	if !e.pool.submit(j) {
		e.session.Refuse(j)
	} else if j.Slot != engine.CheckSlot {
		s.delay.begin() // it ends under the session's lock, so not before
	}
	s.clock.hurry(e)
}

// finish removes a session that has ended and sent its last word.
func (s *Server) finish(e *entry) {
	e.mu.Lock()
	sess := e.session
	if sess.HasOutput() || s.table.find(sess.Index()) != e {
		e.mu.Unlock()
		return
	}
	s.table.drop(sess.Index())
	told := e.confirmed
	e.mu.Unlock()
	s.frontMu.Lock()
	if !told && !sess.Who.Resume {
		s.front.Settled()
	}
	s.front.Forget(sess)
	s.frontMu.Unlock()
	if told {
		s.cfg.Admitter.Ended(sess)
	}
}

// storeTrouble reports a store that cannot be read, once in a while.
func (s *Server) storeTrouble(im Image, err error) {
	const every = 10 * time.Second
	last, _ := s.trouble.LoadOrStore(im.Store(), new(atomic.Int64))
	at := last.(*atomic.Int64)
	now, was := int64(s.now()), at.Load()
	if was != 0 && time.Duration(now-was) < every || !at.CompareAndSwap(was, now) {
		return
	}
	s.log.Error("store cannot be read; its targets are asked to try another server", keyText("store", im.Store()),
		keyDisk(im.Disk()), keyError(err))
}

// Refresh sends every target its alternates again: another server came, went,
// or changed.
func (s *Server) Refresh() {
	for _, e := range s.table.all(nil) {
		e.mu.Lock()
		if e.confirmed && !e.session.Ended() {
			s.frontMu.Lock()
			s.front.Offer(s.now(), e.session)
			s.frontMu.Unlock()
		}
		s.release(e, nil)
	}
}
