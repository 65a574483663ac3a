package engine

import (
	"net/netip"

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
	flight       *secure.Flight
	flightReads  []uint32 // fetches that the flight asks for
	serverRandom [wire.ServerRandomSize]byte
	started      Instant
	again        Instant // when the first message or the flight is sent again
	sends        int
	cookies      int

	// once it is open
	rtt         rtt
	win         window
	outstanding int // bytes under way, pending ones included
	pending     int // those that the server promised for later
	heard       Instant
	due         Instant // since when an answer is due that has not come, Never when none is
	probes      int
	nextProbe   Instant
	tick        Instant
	lastData    Instant
	answered    [2]Instant // latest send time of an ask that was answered: read-ahead, demand
	counter     uint64     // highest of the server's datagrams
	lastFetch   uint32     // whose bytes that datagram brought
	any         bool       // counter is valid
	gaps        []*Fetch   // fetches with a gap that may still be filled
	suspect     bool       // silent for too long
	repair      fetchQueue // fetches that only this path may ask for
	leaveAt     Instant    // a replaced path is left then at the latest
	pingDue     bool
	used        Instant // when a fetch was last sent, for paths of repair
	aux         bool    // a path for repair, never the serving one
	largest     int     // largest datagram that came
	statusAt    Instant
	statusDue   bool
	statusSeq   uint32
	pauseUS     uint32 // what leaving this path cost, for its server
	pings       uint32
	dark        int // asks that timed out in a row while the server was heard: big datagrams may vanish
}

type pathState uint8

const (
	pathHello    pathState = iota // first message sent
	pathResuming                  // ticket flight sent
	pathOpen
	pathLeft // left or replaced; what still comes is taken
)

func (p *path) room() int { return p.win.bytes - p.outstanding }

// expect notes that the server owes an answer from now on.
func (p *path) expect(now Instant) {
	if p.due == Never {
		p.due = now
		p.nextProbe = now.Add(p.rtt.resend())
	}
}

// alive notes an authentic datagram of the server.
func (p *path) alive(now Instant) {
	p.heard = now
	p.probes = 0
	p.suspect = false
	p.settleDue(now)
}

// settleDue starts the count of silence anew, if anything is due at all.
func (p *path) settleDue(now Instant) {
	if p.outstanding > p.pending || p.pingDue || p.statusDue {
		p.due = now
		p.nextProbe = now.Add(p.rtt.resend())
	} else {
		p.due = Never
	}
}

// reweigh takes over a change in what a fetch on this path has under way.
func (p *path) reweigh(before, after weight) {
	p.outstanding += after.outstanding - before.outstanding
	p.pending += after.pending - before.pending
}

// server is what a client knows of one server.
type server struct {
	id        ServerID
	named     bool // id and name are known
	name      string
	addr      netip.AddrPort
	rank      int    // alternates in their order, then the configured log-in servers
	note      string // what came of asking it last
	state     wire.ServerState
	load      uint16 // in 1/1000
	sameZone  bool
	noTicket  bool // it refused our ticket
	penalty   int  // failures in a row
	notBefore Instant
	tried     Instant
	asked     bool
}

// label is the server as a person should read it.
func (s *server) label() string {
	if s.named {
		return s.name
	}
	return s.addr.String()
}

// fail puts the server aside for a while that grows from failure to failure.
func (s *server) fail(now Instant) {
	wait := penaltyMin << min(s.penalty, 5)
	s.penalty++
	s.notBefore = now.Add(min(wait, penaltyMax))
}

func (s *server) works() {
	s.penalty = 0
	s.notBefore = 0
}
