package engine

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// simServer is a server's shell in the simulation: the same steps as the real
// one, without goroutines.
type simServer struct {
	w        *world
	name     string
	id       ServerID
	e        ends
	offset   time.Duration // of its clock
	front    *Server
	cookies  *secure.Cookies
	sessions map[uint32]*simSession
	list     []*simSession // in order of their making: maps have none
	egress   Schedule
	sending  bool
	ticking  Instant // of the front

	disk          func() time.Duration // time of one read
	damaged       map[object]bool      // objects with a flipped bit
	fenced        map[object]bool
	gone          bool    // its store
	lies          bool    // about the length of answers
	full          bool    // refers new targets
	hidden        bool    // nobody names it as an alternate
	boots         float64 // log-ins a second, 0: as usual
	denies        wire.Code
	refuseTickets bool
	refuse        func(Job) bool // whether the shell has no room for a read
	psk           [32]byte

	frozen  bool
	backlog []func()
	dead    bool
	life    int // start number: callbacks of an earlier life are void

	received map[netip.AddrPort]int // bytes
	sent     map[netip.AddrPort]int
	granted  map[netip.AddrPort]int  // by tickets that name the address
	known    map[netip.AddrPort]bool // addresses that have proven themselves
	buf      [maxTrain]byte
	reads    int // of the disk
	reading  map[Job]bool
	twice    int // reads of what was being read already for the same session
	moved    int // by a planned stop
	pause    time.Duration
	bad      []object // checked because a target said so
	peak     int      // most sessions at once
}

// simSession is a session with the shell's part of it.
type simSession struct {
	*Session
	told    bool    // confirmed
	armed   Instant // when its timer runs out
	deleted bool
}

func (w *world) addServer(name string) *simServer {
	s := &simServer{
		w: w, name: name, disk: func() time.Duration { return 200 * time.Microsecond }, damaged: map[object]bool{}, fenced: map[object]bool{},
		offset: time.Duration(w.rng.Int64N(int64(time.Hour))),
	}
	copy(s.id[:], name+"----------------")
	s.e = ends{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + len(w.servers))}), 6910)}
	w.servers = append(w.servers, s)
	w.byAddr[s.e.addr] = s
	s.start(1)
	return s
}

func (s *simServer) ends() *ends { return &s.e }

// clock is the server's own time, which no other machine shares.
func (s *simServer) clock() Instant { return s.w.now.Add(s.offset) }

func (s *simServer) start(epoch uint32) {
	s.life++
	s.dead, s.frozen, s.sending = false, false, false
	s.sessions, s.list, s.egress, s.backlog = map[uint32]*simSession{}, nil, Schedule{}, nil
	s.received, s.sent, s.granted = map[netip.AddrPort]int{}, map[netip.AddrPort]int{}, map[netip.AddrPort]int{}
	s.known = map[netip.AddrPort]bool{}
	s.cookies = secure.NewCookies(s.w.farm)
	s.ticking, s.reading = Never, map[Job]bool{}
	s.front = NewServer(s.clock(), ServerConfig{
		ID: s.id, Name: s.name, Farm: s.w.farm, Cookies: s.cookies, Admitter: s, Random: s.w.reader(), Epoch: epoch, Boots: s.boots,
	})
	s.armFront()
}

// Admit accepts everyone while the server is not full.
func (s *simServer) Admit(who Who) Decision {
	d := Decision{Result: wire.ResultAccept, Disk: s.w.image.disk, PSK: s.psk}
	switch {
	case s.denies != 0:
		d.Result, d.Code = wire.ResultDeny, s.denies
	case who.Resume && who.Content != s.w.image.disk.Content:
		d.Result, d.Code = wire.ResultDeny, wire.CodeContentChanged
	case s.refuseTickets && who.Resume:
		d.Result, d.Code = wire.ResultDeny, wire.CodeStarting
	case s.full && !who.Resume && len(s.seen()) > 0:
		o := s.seen()[0]
		d.Result, d.Refer = wire.ResultRefer, []wire.Referral{{Name: o.name, ID: o.id, Addr: o.e.addr}}
	}
	return d
}

func (s *simServer) Confirmed(*Session) {}
func (s *simServer) Ended(*Session)     {}

// Alternates ranks the other servers differently for each target, and behind
// them those that it does not see.
func (s *simServer) Alternates(who Who, _ wire.Content) wire.Alternates {
	var a wire.Alternates
	add := func(o *simServer, state wire.ServerState) {
		a.List = append(a.List, wire.Alternate{Name: o.name, ID: o.id, Addr: o.e.addr, State: state})
	}
	for _, o := range s.seen() {
		if !o.hidden {
			add(o, wire.StateServing)
		}
	}
	if n := len(a.List); n > 0 {
		k := int(who.MAC[5]) % n
		a.List = append(a.List[k:n:n], a.List[:k]...)
	}
	for _, o := range s.w.servers {
		if o != s && !o.hidden && !s.sees(o) {
			add(o, wire.StateUnreachable)
		}
	}
	return a
}

// do runs f now, or when the server thaws.
func (s *simServer) do(f func()) {
	switch {
	case s.dead:
	case s.frozen:
		if len(s.backlog) < 4096 {
			s.backlog = append(s.backlog, f)
		}
	default:
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
		s.send()
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
	switch kind {
	case wire.KindHello:
		s.hello(from, b)
	case wire.KindResume:
		s.resume(from, b)
	case wire.KindSealed:
		index, _ := wire.Index(b)
		x := s.sessions[index]
		if x == nil {
			s.reply(from, s.front.Unknown(s.clock(), b))
			return
		}
		x.Receive(s.clock(), from, netip.Addr{}, b)
		if x.Confirmed() && x.proven {
			s.known[x.Addr()] = true
		}
		s.settle(x)
	}
}

func (s *simServer) hello(from netip.AddrPort, b []byte) {
	g, hint, err := s.front.Greet(from, netip.Addr{}, b)
	if err != nil {
		s.reply(from, hint)
		return
	}
	index := s.index()
	d, reply := s.front.Decide(s.clock(), g, index)
	welcome, sess, err := g.Welcome(s.clock(), s.w.reader(), d, reply, index)
	if err != nil {
		s.w.fail("welcome: %v", err)
	}
	if sess != nil {
		s.add(sess)
	}
	s.reply(from, welcome)
}

func (s *simServer) resume(from netip.AddrPort, b []byte) {
	r := s.front.Resume(s.clock(), from, netip.Addr{}, b, s.index())
	s.reply(from, r.Answer)
	if r.Session == nil {
		return
	}
	if r.Made {
		x := s.add(r.Session)
		if x.proven {
			s.known[from] = true
		} else {
			s.granted[from] += unprovenBytes
		}
	}
	r.Session.Flight(s.clock(), from, r.Frames)
	s.settle(r.Session.Owner.(*simSession))
}

func (s *simServer) add(sess *Session) *simSession {
	x := &simSession{Session: sess, armed: Never}
	sess.Owner = x
	s.sessions[sess.Index()] = x
	s.list = append(s.list, x)
	s.peak = max(s.peak, len(s.sessions))
	s.settle(x)
	return x
}

func (s *simServer) reply(to netip.AddrPort, b []byte) {
	if len(b) > 0 {
		s.transmit(to, b)
	}
}

// transmit sends and checks the oracle of amplification.
func (s *simServer) transmit(to netip.AddrPort, b []byte) {
	s.sent[to] += len(b)
	if may := s.received[to] + s.granted[to]; !s.known[to] && s.sent[to] > may {
		s.w.fail("%s sent %d bytes to %s, which may get %d and has proven nothing", s.name, s.sent[to], to, may)
	}
	s.w.send(&s.e, to, b)
}

// settle does what a session asks for after a step.
func (s *simServer) settle(x *simSession) {
	if x.deleted {
		return
	}
	if x.Confirmed() && !x.told {
		x.told = true
		if !x.Who.Resume {
			s.front.Settled()
		}
	}
	if x.Wants() && (x.told || x.Who.Resume) {
		s.front.Offer(s.clock(), x.Session)
	}
	s.takeJobs(x)
	if x.inWork > sessionBytes+jobBytes {
		s.w.fail("a session of %s holds %d bytes", s.name, x.inWork)
	}
	if x.HasOutput() {
		s.egress.Add(x.Session)
	} else if x.Ended() {
		s.forget(x)
		return
	}
	s.arm(x)
}

func (s *simServer) takeJobs(x *simSession) {
	for _, j := range x.Jobs(nil) {
		if s.refuse != nil && s.refuse(j) {
			x.Refuse(j)
			continue
		}
		s.read(j)
	}
}

func (s *simServer) forget(x *simSession) {
	if x.Stats.Left == wire.LeaveMoved {
		s.moved++
		s.pause = max(s.pause, x.Stats.Pause)
	}
	if !x.told && !x.Who.Resume {
		s.front.Settled()
	}
	s.front.Forget(x.Session)
	x.deleted = true
	delete(s.sessions, x.Index())
	for i, o := range s.list {
		if o == x {
			s.list = append(s.list[:i], s.list[i+1:]...)
			break
		}
	}
}

// send empties the egress as fast as the link takes it.
func (s *simServer) send() {
	if s.sending {
		return
	}
	for s.egress.Len() > 0 {
		if wait := s.e.up.freeAt.Sub(s.w.now); s.e.up.rate > 0 && wait.Seconds()*s.e.up.rate > 32<<10 {
			s.sending = true
			s.later(wait/2, func() { s.sending = false; s.send() })
			return
		}
		sess, limit := s.egress.Next()
		x := sess.Owner.(*simSession)
		had := x.HasOutput()
		t := sess.Fill(s.clock(), s.buf[:], limit)
		if had && len(t.Data) == 0 {
			s.w.fail("there was output, and nothing was made of it")
		}
		for at := 0; at < len(t.Data); at += t.Segment {
			b := t.Data[at:min(at+t.Segment, len(t.Data))]
			s.w.once(sess.sealer.Fingerprint(), b)
			s.transmit(t.To, b)
		}
		s.egress.Sent(sess, len(t.Data))
		s.settle(x)
	}
}

func (s *simServer) read(j Job) {
	s.reads++
	for o := range s.reading {
		if o.Session == j.Session && o.ID == j.ID && o.From < j.To && j.From < o.To && j.Slot != CheckSlot {
			s.twice++
		}
	}
	s.reading[j] = true
	s.later(s.disk(), func() {
		delete(s.reading, j)
		s.finish(j)
		s.settle(j.Session.Owner.(*simSession))
		s.send()
	})
}

// finish brings what was read from the disk.
func (s *simServer) finish(j Job) {
	if j.Slot == CheckSlot {
		o := object{j.Level, j.First}
		s.bad = append(s.bad, o)
		if s.damaged[o] {
			s.fenced[o] = true
		}
		return
	}
	if s.gone {
		j.Session.Fail(j, j.First, wire.CodeStoreGone)
		return
	}
	whole := s.w.image.answer(j.Level, j.First, j.Count)
	at := 0
	for i := j.First; len(s.damaged) > 0 && i < j.First+int64(j.Count); i++ {
		o, n := object{j.Level, i}, len(s.w.image.levels[j.Level][i])
		if s.fenced[o] {
			j.Session.Fail(j, i, wire.CodeDamaged)
			return
		}
		if s.damaged[o] && n > 0 {
			whole = bytes.Clone(whole)
			whole[at] ^= 1
		}
		at += n
	}
	if s.lies {
		whole = whole[:len(whole)/2]
	}
	from, to := min(j.From, len(whole)), min(j.To, len(whole), j.From+jobBytes)
	j.Session.Complete(s.clock(), j, &simBuffer{w: s.w, b: whole[from:to]}, len(whole))
}

// arm sets the timer of a session for its deadline.
func (s *simServer) arm(x *simSession) {
	d := x.Deadline()
	if d >= x.armed {
		return
	}
	x.armed = d
	s.later(max(0, d.Sub(s.clock())), func() {
		if x.deleted || x.armed != d {
			return
		}
		x.armed = Never
		if s.clock() >= x.Deadline() {
			x.Tick(s.clock())
			if x.Deadline() <= s.clock() {
				s.w.fail("a session of %s is due again at once", s.name)
			}
		}
		s.settle(x)
		s.send()
	})
}

func (s *simServer) armFront() {
	s.later(max(0, s.front.Deadline().Sub(s.clock())), func() {
		s.front.Tick(s.clock())
		s.armFront()
	})
}

func (s *simServer) crash() { s.dead, s.life = true, s.life+1 }

// restart brings a dead server back, which remembers nothing but the epoch.
func (s *simServer) restart() { s.start(s.front.Epoch()) }

func (s *simServer) freeze() { s.frozen = true }

// thaw lets the server go on with what arrived meanwhile and with its timers.
func (s *simServer) thaw() {
	s.frozen = false
	run := s.backlog
	s.backlog = nil
	for _, f := range run {
		s.do(f)
	}
}
