package engine

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// ServerConfig is what a server is.
type ServerConfig struct {
	ID       ServerID
	Name     string
	Farm     *secure.Farm
	Cookies  *secure.Cookies
	Admitter Admitter
	Random   io.Reader
	Epoch    uint32 // of the ticket keys, at least; it is learnt from the others
	// Boots and Reconnects are log-ins a second; 0 stands for the defaults.
	Boots      float64
	Reconnects float64
}

// Server answers what comes before a session: first messages, ticket flights,
// and datagrams of sessions that do not exist. It keeps little: half-open
// handshakes for some seconds, the ids of used tickets for their epoch, two
// budgets. A caller with several goroutines guards it with one lock; the costly
// halves, [Greeting] and [Greeting.Welcome], need none.
type Server struct {
	cfg      ServerConfig
	epoch    uint32
	epochAt  Instant // when the epoch began here
	halfOpen halfOpen
	boots    budget
	returns  budget
	flights  budget
	hints    budget
	used     map[[secure.TicketIDSize]byte]usedTicket
	oldUsed  map[[secure.TicketIDSize]byte]usedTicket // of the epoch before
	stopped  bool
	Stats    ServerStats
}

// usedTicket is what is remembered of a ticket: its latest flight and the
// session that it made, and how many flights there were since the first of
// late.
type usedTicket struct {
	random  [wire.RandomSize]byte
	session *Session
	since   Instant
	flights int
}

// halfOpen counts accepted handshakes that have not been settled, those of the
// current stretch of halfOpenLife and of the one before: what is older has
// ended by itself.
type halfOpen struct {
	counts [2]int
	turn   Instant
}

func (h *halfOpen) count(now Instant) int {
	for now >= h.turn && h.counts != [2]int{} {
		h.counts = [2]int{0, h.counts[0]}
		h.turn = h.turn.Add(halfOpenLife)
	}
	if h.counts == [2]int{} {
		h.turn = now.Add(halfOpenLife)
	}
	return h.counts[0] + h.counts[1]
}

func (h *halfOpen) settle() {
	for i := range h.counts {
		if h.counts[i] > 0 {
			h.counts[i]--
			return
		}
	}
}

// ServerStats counts what came before sessions.
type ServerStats struct {
	Hellos    uint64
	Flights   uint64
	Cookies   uint64
	Refused   uint64
	Busy      uint64
	Malformed uint64
	Forged    uint64
	Hints     uint64
	Dropped   uint64 // ticket flights beyond a bound
}

// NewServer makes a server engine.
func NewServer(now Instant, cfg ServerConfig) *Server {
	if cfg.Boots == 0 {
		cfg.Boots = defaultBoots
	}
	if cfg.Reconnects == 0 {
		cfg.Reconnects = defaultReconnects
	}
	return &Server{
		cfg: cfg, epoch: max(cfg.Epoch, 1), epochAt: now,
		boots: newBudget(cfg.Boots, cfg.Boots), returns: newBudget(cfg.Reconnects, cfg.Reconnects),
		flights: newBudget(flightRate, flightRate), hints: newBudget(hintRate, hintRate),
		used: make(map[[secure.TicketIDSize]byte]usedTicket),
	}
}

// Greeting is a first message that has been opened.
type Greeting struct {
	From  netip.AddrPort
	Local netip.Addr
	r     *secure.Responder
	login wire.Login
}

// Greet opens a first message. It costs two scalar multiplications, needs no
// lock and changes nothing. On an error, hint is what may be sent back; it is
// never longer than the message.
func (s *Server) Greet(from netip.AddrPort, local netip.Addr, datagram []byte) (g *Greeting, hint []byte, err error) {
	r, err := s.cfg.Farm.OpenHello(datagram)
	switch {
	case err == nil:
	case errors.Is(err, secure.ErrOtherFarm):
		return nil, secure.AppendHint(nil, datagram, wire.HintOtherFarm), err
	case errors.Is(err, secure.ErrVersion):
		return nil, secure.AppendHint(nil, datagram, wire.HintVersion), err
	default:
		return nil, nil, err
	}
	g = &Greeting{From: from, Local: local, r: r}
	if g.login, err = wire.ParseLogin(r.Login); err != nil {
		return nil, nil, err
	}
	return g, nil, nil
}

// Hint tells whether an unsealed hint may be sent now.
func (s *Server) Hint(now Instant) bool {
	ok, _ := s.hints.take(now)
	if ok {
		s.Stats.Hints++
	}
	return ok
}

// Unknown answers a datagram of a session that does not exist.
func (s *Server) Unknown(now Instant, datagram []byte) []byte {
	if kind, err := wire.Peek(datagram); err != nil || kind != wire.KindSealed || !s.Hint(now) {
		return nil
	}
	return secure.AppendHint(nil, datagram, wire.HintUnknownSession)
}

// Decide decides about a first message. index is free for a session.
func (s *Server) Decide(now Instant, g *Greeting, index uint32) (Decision, wire.LoginReply) {
	s.Stats.Hellos++
	who := Who{Key: g.r.Device, MAC: g.login.MAC, Addr: g.From, Login: g.login}
	d := s.cfg.Admitter.Admit(who)
	if s.stopped && d.Result == wire.ResultAccept {
		d.Result, d.Code = wire.ResultBusy, wire.CodeStopped
		d.RetryAfterMS = uint32(retryAllMax.Milliseconds())
	}
	if d.Result == wire.ResultAccept || d.Result == wire.ResultRefer {
		if wait := s.admit(now, g.login.Flags&wire.LoginReconnect != 0); wait > 0 {
			d = Decision{Result: wire.ResultBusy, Code: wire.CodeTooMany, PSK: d.PSK, RetryAfterMS: uint32(wait.Milliseconds())}
		}
	}
	if d.Sentence == "" && d.Code != wire.CodeNone {
		d.Sentence = d.Code.Sentence()
	}
	reply := wire.LoginReply{
		Result: d.Result, Code: d.Code, Version: wire.MaxProtocol, ServerID: s.cfg.ID, Server: s.cfg.Name,
		RetryAfterMS: d.RetryAfterMS, Sentence: d.Sentence, Disk: d.Disk, Refer: d.Refer,
	}
	switch d.Result {
	case wire.ResultAccept:
		s.halfOpen.counts[0]++
	case wire.ResultBusy:
		s.Stats.Busy++
	case wire.ResultDeny:
		s.Stats.Refused++
	}
	if d.Result == wire.ResultAccept || d.Result == wire.ResultRefer {
		if t, err := s.ticket(who, d.Disk.Content); err == nil {
			reply.HasTicket, reply.Ticket = true, t
		}
	}
	return d, reply
}

// admit takes a log-in from its budget, or says how long it is to wait.
func (s *Server) admit(now Instant, reconnect bool) time.Duration {
	b, most := &s.boots, bootWait
	if reconnect {
		b, most = &s.returns, reconnectWait
	}
	if s.halfOpen.count(now) >= halfOpenMax {
		return most
	}
	if ok, wait := b.take(now); !ok {
		return min(wait+time.Millisecond, most) // it is told in whole milliseconds, and zero is none
	}
	return 0
}

// Welcome seals the reply and, when it accepts, makes the half-open session.
// It needs no lock.
func (g *Greeting) Welcome(now Instant, rng io.Reader, d Decision, reply wire.LoginReply, index uint32) ([]byte, *Session, error) {
	head := wire.Welcome{Receiver: g.r.Head.Index, Index: index}
	b, keys, err := g.r.Welcome(rng, nil, head, d.PSK, reply.Append(nil))
	if err != nil {
		return nil, nil, err
	}
	if d.Result != wire.ResultAccept {
		return b, nil, nil
	}
	who := Who{Key: g.r.Device, MAC: g.login.MAC, Addr: g.From, Login: g.login, Content: d.Disk.Content}
	sess := newSession(now, rng, who, d, keys, index, g.r.Head.Index)
	sess.local = g.Local
	return b, sess, nil
}

func newSession(now Instant, rng io.Reader, who Who, d Decision, keys secure.Keys, index, peer uint32) *Session {
	s := &Session{
		Who: who, Disk: d.Disk, Image: d.Image, index: index, peer: peer, addr: who.Addr,
		sealer: secure.NewSealer(keys.Send, keys.Cipher), opener: secure.NewOpener(keys.Receive, keys.Cipher, secure.WindowServer),
		born: now, heard: now, ticketAt: now, due: Never, packet: basePacket, probeAt: now, wants: true,
		checks: newBudget(checkRate, checkBurst),
	}
	readFull(rng, s.seed[:])
	return s
}

// Settled notes that a session made by a handshake has been confirmed or has
// ended before.
func (s *Server) Settled() { s.halfOpen.settle() }

// ticket makes a ticket for a target.
func (s *Server) ticket(who Who, content wire.Content) (wire.Ticket, error) {
	t := secure.Ticket{
		Device: who.Key, MAC: who.MAC, Root: content.Root, Timestamp: content.Timestamp,
		Addr: who.Addr.Addr(), Epoch: s.epoch,
	}
	if _, err := io.ReadFull(s.cfg.Random, t.Secret[:]); err != nil {
		return wire.Ticket{}, err
	}
	b, err := s.cfg.Farm.SealTicket(s.cfg.Random, t)
	return wire.Ticket{Ticket: b, Secret: t.Secret, LifetimeMS: uint32(epochLength.Milliseconds())}, err
}

// Offer gives a session what it wants: the ranked alternates, and a new ticket
// when the old one has aged.
func (s *Server) Offer(now Instant, sess *Session) {
	a := s.cfg.Admitter.Alternates(sess.Who, sess.Disk.Content)
	if now.Sub(sess.ticketAt) < ticketEvery && !sess.fresh {
		sess.Offer(now, a, nil)
		return
	}
	sess.fresh = false
	who := sess.Who
	who.Addr = sess.addr
	if t, err := s.ticket(who, sess.Disk.Content); err == nil {
		sess.Offer(now, a, &t)
	}
}

// Resumed is what a ticket flight led to: a session, made by it or found again,
// to which its owner gives the frames with [Session.Flight]; or an answer that
// may be sent back, a cookie or a hint.
type Resumed struct {
	Session *Session
	Made    bool
	Frames  []byte
	Answer  []byte
}

// Resume takes a ticket flight.
func (s *Server) Resume(now Instant, from netip.AddrPort, local netip.Addr, datagram []byte, index uint32) Resumed {
	s.Stats.Flights++
	if ok, _ := s.flights.take(now); !ok {
		s.Stats.Dropped++ // it is sent again
		return Resumed{}
	}
	r, err := s.cfg.Farm.OpenResume(datagram)
	if err != nil {
		s.Stats.Forged++
		if errors.Is(err, secure.ErrTicket) && s.Hint(now) {
			return Resumed{Answer: secure.AppendHint(nil, datagram, wire.HintTicketRefused)}
		}
		return Resumed{}
	}
	s.LearnEpoch(now, r.Ticket.Epoch)
	u, seen := s.lookUp(r.ID)
	if seen && u.session != nil && u.random == r.TargetRandom {
		if u.session.Who.Addr != from {
			return Resumed{} // a recording, or the target has moved and will make a new flight
		}
		return Resumed{Session: u.session, Frames: r.Frames}
	}
	proven := s.cfg.Cookies.Check2(datagram, from)
	named := r.Ticket.Addr.IsValid() && r.Ticket.Addr == from.Addr()
	if !proven && (seen || !named || len(s.used) >= usedTicketMax) {
		s.Stats.Cookies++
		return Resumed{Answer: s.cfg.Cookies.Reply(nil, datagram, from)}
	}
	if now.Sub(u.since) >= halfOpenLife {
		u.since, u.flights = now, 0
	}
	if u.flights++; u.flights > flightsPerTicket {
		s.Stats.Dropped++
		return Resumed{}
	}
	sess := s.resumed(now, from, local, r, index)
	sess.proven = proven
	sess.credit = unprovenBytes
	if seen || len(s.used) < usedTicketMax {
		u.random, u.session = r.TargetRandom, sess
		s.used[r.ID] = u
		sess.ticket = r.ID
	}
	return Resumed{Session: sess, Made: true, Frames: r.Frames}
}

func (s *Server) lookUp(id [secure.TicketIDSize]byte) (usedTicket, bool) {
	if u, ok := s.used[id]; ok {
		return u, true
	}
	u, ok := s.oldUsed[id]
	return u, ok
}

// resumed makes the session of a flight. One that is refused still gets its
// answer under its keys, so that the target can trust it.
func (s *Server) resumed(now Instant, from netip.AddrPort, local netip.Addr, r secure.Resumption, index uint32) *Session {
	who := Who{
		Key: r.Ticket.Device, MAC: r.Ticket.MAC, Addr: from, Resume: true,
		Content: wire.Content{Root: r.Ticket.Root, Timestamp: r.Ticket.Timestamp},
	}
	first := wire.SealedFirst{Receiver: r.Head.Index, Index: index, Server: s.cfg.ID}
	readFull(s.cfg.Random, first.Random[:])
	d := s.cfg.Admitter.Admit(who)
	if s.stopped && d.Result == wire.ResultAccept {
		d = Decision{Result: wire.ResultDeny, Code: wire.CodeStopped}
	}
	if r.Ticket.Epoch+1 < s.epoch {
		d = Decision{Result: wire.ResultDeny, Code: wire.CodeKeysExpired}
	}
	sess := newSession(now, s.cfg.Random, who, d, r.Keys(first.Random, secure.ServerID(s.cfg.ID)), index, r.Head.Index)
	sess.local, sess.first, sess.fresh = local, &first, true
	if d.Result != wire.ResultAccept {
		s.Stats.Refused++
		sess.Close(d.Code, d.Sentence)
	}
	return sess
}

// Forget lets go of a session that has ended.
func (s *Server) Forget(sess *Session) {
	for _, m := range []map[[secure.TicketIDSize]byte]usedTicket{s.used, s.oldUsed} {
		if u, ok := m[sess.ticket]; ok && u.session == sess {
			u.session = nil
			m[sess.ticket] = u
		}
	}
}

// Epoch is the epoch of the ticket keys in use; servers tell it to one another.
func (s *Server) Epoch() uint32 { return s.epoch }

// LearnEpoch takes an epoch that another server has, or that an authentic
// ticket names. Epochs only grow; no clock is compared.
func (s *Server) LearnEpoch(now Instant, epoch uint32) {
	if epoch > s.epoch {
		s.turnEpoch(now, epoch)
	}
}

func (s *Server) turnEpoch(now Instant, epoch uint32) {
	s.oldUsed = s.used
	if epoch > s.epoch+1 {
		s.oldUsed = nil
	}
	s.used = make(map[[secure.TicketIDSize]byte]usedTicket)
	s.epoch, s.epochAt = epoch, now
}

// Tick advances the epoch.
func (s *Server) Tick(now Instant) {
	if now.Sub(s.epochAt) >= epochLength {
		s.turnEpoch(now, s.epoch+1)
	}
}

// Deadline is when Tick wants to be called.
func (s *Server) Deadline() Instant { return s.epochAt.Add(epochLength) }

// Stop refuses new log-ins from now on; Start takes that back. Sessions are
// not touched.
func (s *Server) Stop() { s.stopped = true }

// Start accepts log-ins again.
func (s *Server) Start() { s.stopped = false }

// Stopped tells whether log-ins are refused.
func (s *Server) Stopped() bool { return s.stopped }

// Slot is when the n-th of total targets should move, so that they do not all
// ask the other servers at once, and all are gone well before the deadline.
func Slot(n, total int, deadline time.Duration) time.Duration {
	window := min(deadline/3, time.Duration(total)*slotSpacing)
	return window * time.Duration(n) / time.Duration(max(total, 1))
}
