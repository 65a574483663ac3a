package engine

import (
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// path is a client's session with one server, from the first message on.
type path struct {
	server *server
	state  pathState
	why    Reason
	index  uint32 // ours: the server's datagrams carry it
	peer   uint32 // the server's
	sealer *secure.Sealer
	opener *secure.Opener
	born   Instant // when the session was opened
	life   Instant // when it is to be replaced by a new one
	closes Instant // a left path is forgotten then

	// before it is open
	handshake    *secure.Initiator
	unopened     bool // something came from its address that the handshake could not open
	flight       *secure.Flight
	flown        []flown // what the flight asks for
	flownAt      Instant // when the flight that was answered went out, 0 when it is not known which
	serverRandom [wire.ServerRandomSize]byte
	started      Instant
	again        Instant // when the first message, the flight, or at the end the good-bye is sent again
	sends        int     // of it
	sentLast     Instant
	cookies      int
	hops         int // referrals in a row that led here

	// once it is open: what is under way
	rtt         rtt
	win         window
	asks        int // ranges
	outstanding int // bytes, pending ones included
	pending     int // bytes that the server promised for later
	gaps        []*Fetch
	repair      fetchQueue // fetches that only this path may ask for
	answered    [2]Instant // latest send time of an ask that was answered: demand, read-ahead
	lastData    Instant
	used        Instant // when something was last asked for
	tick        Instant // when the asks are looked through next

	// and what is heard
	heard     Instant
	due       Instant // since when an answer is due that has not come, Never when none is
	probes    int
	nextProbe Instant
	probed    Instant // when the probe was sent after which silence may count
	pings     uint32
	pinged    Instant // when the last one was sent
	pingDue   bool
	hinted    Instant // somebody said that the server knows this session no more; Never when nobody did
	suspect   bool    // silent for too long
	counter   uint64  // highest of the server's datagrams
	any       bool    // counter is valid
	lastFetch uint32  // whose bytes that datagram brought
	largest   int     // largest datagram that came
	large     Instant // when a datagram came last that was larger than the least
	dark      int     // how often an answer did not come while nothing large came
	darker    Instant // when that may be counted again

	spent     bool // a key has sealed enough
	aux       bool // for repair, never the serving one
	leaveAt   Instant
	left      wire.LeaveReason
	statusAt  Instant
	statusDue bool
	statusSeq uint32
	offered   bool   // its server has named the alternates
	withdrawn uint32 // the request to move that its server took back
	pauseUS   uint32 // what leaving this path cost, for its server
}

// flown is a range that a ticket flight asks for.
type flown struct {
	id       uint32
	from, to int
}

type pathState uint8

const (
	pathHello    pathState = iota // first message sent
	pathResuming                  // ticket flight sent
	pathOpen
	pathLeft // left or replaced; what still comes is taken
)

func (p *path) attempting() bool { return p.state == pathHello || p.state == pathResuming }

// room is how many bytes more may be asked for. What is pending waits for a disk
// and does not fill the way. Something is always under way.
func (p *path) room() int {
	busy := p.outstanding - p.pending
	switch {
	case p.asks >= maxPathAsks || p.pending >= min(maxPending, p.win.most):
		return 0
	case busy == 0:
		return max(p.win.allowed(), 2*leastPiece)
	}
	return p.win.allowed() - busy
}

// expect notes that the server owes an answer from now on.
func (p *path) expect(now Instant) {
	if p.due == Never {
		p.due = now
		p.nextProbe = now.Add(p.rtt.look())
	}
}

// ping makes the next ping.
func (p *path) ping(now Instant) wire.Ping {
	p.pings++
	p.pinged, p.pingDue = now, true
	return wire.Ping{Token: p.pings}
}

// pong takes the answer to a ping. It is a sample of the round trip where no
// other is to be had.
func (p *path) pong(now Instant, token uint32) {
	if p.pingDue && token == p.pings && !p.rtt.known() {
		p.rtt.sample(now.Sub(p.pinged))
	}
	p.pingDue = false
}

// alive notes an authentic datagram of the server.
func (p *path) alive(now Instant) {
	p.heard = now
	p.probes = 0
	p.suspect = false
	p.hinted = Never
	p.settleDue(now)
}

// settleDue starts the count of silence anew, if anything is due at all.
func (p *path) settleDue(now Instant) {
	p.due = Never
	if p.outstanding > p.pending || p.pingDue || p.statusDue {
		p.expect(now)
	}
}

// probing notes that a probe is sent now and says when the next one is: the one
// before the last look at the clock comes just early enough to be answered.
func (p *path) probing(now Instant) {
	p.probes++
	if p.probes == leastProbes {
		p.probed = now
	}
	p.nextProbe = now.Add(p.rtt.look() << min(max(p.probes-leastProbes, 0), 5))
	if last := p.due.Add(silence - lastLook); now < last {
		p.nextProbe = earlier(p.nextProbe, last)
	}
}

// silentAt is when the server has been silent for too long, Never when it has
// not been asked often enough to say.
func (p *path) silentAt() Instant {
	if p.due == Never || p.suspect || p.probes < leastProbes {
		return Never
	}
	return later(p.due.Add(silence), p.probed.Add(p.rtt.patience()))
}

// expires is from when on the server may have forgotten the session because it
// heard nothing of us: it answers what it hears.
func (p *path) expires() Instant {
	if p.heard == p.born {
		return p.born.Add(halfOpenLife) // it may not have heard of us at all
	}
	return p.heard.Add(sessionIdle)
}

// hintedAt is when a hint that the server knows the session no more counts,
// because the server would have answered by then.
func (p *path) hintedAt() Instant {
	if p.hinted == Never {
		return Never
	}
	return p.hinted.Add(p.rtt.patience())
}

// inherit takes over what another path to the same server has learnt of the way.
func (p *path) inherit(o *path) {
	p.rtt, p.win = o.rtt, o.win
}

// server is what a client knows of one server.
type server struct {
	id        ServerID
	named     bool // id is known
	name      string
	addr      netip.AddrPort
	rank      int    // alternates in their order, then the configured log-in servers
	home      int    // its rank when it is no alternate
	note      string // what came of asking it last
	state     wire.ServerState
	load      uint16 // in 1/1000
	sameZone  bool
	noTicket  bool // it refused our ticket
	penalty   int  // failures in a row
	refusals  int  // in a row
	notBefore Instant
	refused   Instant // until then what it said when it refused us counts
	referrer  bool    // set aside only while the server that it named is asked
	tried     Instant
	asked     bool
}

// configured tells that the target was told to log in there. Whoever answers with
// the farm's keys at its address is it, also when it was set up anew.
func (s *server) configured() bool { return s.home >= configuredRank }

// is tells whether an answer is this server's: what was meant for it can be
// carried to another server of the farm, which would answer it too.
func (s *server) is(id ServerID, from netip.AddrPort) bool {
	if s.named && s.id == id {
		return true
	}
	return from == s.addr && (!s.named || s.configured())
}

// label is the server as a person should read it.
func (s *server) label() string {
	if s.name != "" {
		return s.name
	}
	return s.addr.String()
}

// fail puts the server aside for a while that grows from failure to failure.
func (s *server) fail(now Instant) {
	wait := penaltyMin << min(s.penalty, 5)
	s.penalty++
	s.aside(now, min(wait, penaltyMax))
}

// refuses puts the server aside because it will not serve us now. It may well
// soon: a stream service is stopped and started, a vDisk appears.
func (s *server) refuses(now Instant) {
	wait := denyMin << min(s.refusals, 8)
	s.refusals++
	s.aside(now, min(wait, denyMax))
}

// aside lets the server not be asked for so long.
func (s *server) aside(now Instant, d time.Duration) {
	s.notBefore = later(s.notBefore, now.Add(d))
}

func (s *server) works() {
	s.penalty, s.refusals = 0, 0
	s.notBefore = 0
}
