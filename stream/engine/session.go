package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// Session is the server's side of a session with one target. It is a value
// that is stepped, by one goroutine at a time: what it wants read comes out of
// [Session.Jobs], what it wants sent out of [Session.Fill].
type Session struct {
	Who   Who
	Disk  wire.Disk
	Image any
	Owner any // the owner's own, not looked at

	index  uint32 // ours
	peer   uint32 // the target's
	sealer *secure.Sealer
	opener *secure.Opener
	addr   netip.AddrPort
	local  netip.Addr
	first  *wire.SealedFirst // header of a resumed session's datagrams until the target has proven itself
	proven bool              // the address
	credit int               // bytes that may be sent while it is not

	ticket [secure.TicketIDSize]byte // that it was resumed with

	confirmed bool
	ended     bool
	born      Instant
	heard     Instant
	counter   uint64   // highest of the target's datagrams
	seed      [16]byte // makes the tokens of path checks

	slots   []slot // grows to MaxReads
	taken   int    // slots not free
	owed    int    // slots that wait for their bytes
	ranges  int    // asked for by the datagram that is being taken
	inWork  int    // bytes of buffers that are being filled or wait to be sent
	waiting [2]slotQueue
	ready   [2]slotQueue
	jobs    []Job
	checks  budget // objects to verify because the target says so
	control []byte // whole frames

	packet    int // bytes of a datagram toward the target
	tried     int // index into the sizes to probe
	probes    int
	probed    int // the largest size that was tried
	probeAt   Instant
	probeSize int
	check     pathCheck
	away      awayState
	wants     bool // an offer of alternates and perhaps a ticket
	fresh     bool // a new ticket is due, whatever the age of the old one
	offered   Instant
	ticketAt  Instant
	place     schedulePlace
	due       Instant // when the oldest read must be told to be pending
	Status    wire.Status
	Told      Instant // when Status came
	Stats     SessionStats
}

// SessionStats counts what a session has done.
type SessionStats struct {
	Reads     uint64 // requests, re-sent ones included
	Joined    uint64 // re-sent while in work
	Sent      uint64 // bytes of payload
	Datagrams uint64
	Pending   uint64
	Refused   uint64 // requests beyond a bound
	Malformed uint64
	Replays   uint64
	Forged    uint64
	Left      wire.LeaveReason
	Pause     time.Duration // as the target told when it left
}

type pathCheck struct {
	addr  netip.AddrPort
	local netip.Addr
	token uint64
	send  bool
	at    Instant
}

// Index is the number by which datagrams name the session.
func (s *Session) Index() uint32 { return s.index }

// Addr is where the target is.
func (s *Session) Addr() netip.AddrPort { return s.addr }

// Confirmed tells whether the target has proven itself.
func (s *Session) Confirmed() bool { return s.confirmed }

// Ended tells whether the session is over.
func (s *Session) Ended() bool { return s.ended }

// Born is when the session was made.
func (s *Session) Born() Instant { return s.born }

// Packet is the datagram size in use toward the target, in bytes.
func (s *Session) Packet() int { return s.packet }

// Receive takes a sealed datagram, which it overwrites.
func (s *Session) Receive(now Instant, from netip.AddrPort, local netip.Addr, datagram []byte) {
	frames, counter, err := s.opener.Open(datagram)
	if err != nil {
		if errors.Is(err, secure.ErrReplay) {
			s.Stats.Replays++
		} else {
			s.Stats.Forged++
		}
		return
	}
	if s.ended {
		return
	}
	s.heardOf(now)
	s.confirmed = true
	s.first = nil
	if from == s.addr {
		s.proven = true
		s.local = local
	} else if counter > s.counter && len(datagram) >= checkSize {
		s.wander(now, from, local, counter)
	}
	s.counter = max(s.counter, counter)
	s.ranges = 0
	for len(frames) > 0 {
		t, body, rest, err := wire.Next(frames)
		if err != nil {
			s.Stats.Malformed++
			return
		}
		frames = rest
		s.frame(now, from, t, body)
		if s.ended {
			return // nothing counts behind a good-bye
		}
	}
}

// Flight takes the frames of the ticket flight that made the session: reads,
// and nothing else. A flight that is sent again asks for the same once more;
// when the target has used the session's own keys, it can only be a recording.
func (s *Session) Flight(now Instant, from netip.AddrPort, frames []byte) {
	if s.ended || s.first == nil || from != s.addr {
		return
	}
	s.wants, s.fresh = true, true // the answer, and again when it is lost
	for len(frames) > 0 {
		t, body, rest, err := wire.Next(frames)
		if err != nil || t != wire.FrameRead && t != wire.FramePad {
			s.Stats.Malformed++
			return
		}
		frames = rest
		if t == wire.FrameRead {
			s.frame(now, from, t, body)
		}
	}
}

func (s *Session) frame(now Instant, from netip.AddrPort, t wire.FrameType, body []byte) {
	switch t {
	case wire.FrameRead:
		r, err := wire.ParseRead(body)
		if err != nil {
			s.Stats.Malformed++
			return
		}
		s.read(now, &r)
	case wire.FramePing:
		if f, err := wire.ParsePing(body); err == nil {
			s.queue(wire.Pong(f))
		}
	case wire.FrameStatus:
		if f, err := wire.ParseStatus(body); err == nil {
			s.status(now, f)
		}
	case wire.FrameLeave:
		if f, err := wire.ParseLeave(body); err == nil {
			s.Stats.Left, s.Stats.Pause = f.Reason, time.Duration(f.PauseUS)*time.Microsecond
			s.End()
			s.queue(wire.Closed{}) // so that it need not be said again
		}
	case wire.FrameBad:
		if f, err := wire.ParseBad(body); err == nil {
			s.bad(now, f)
		}
	case wire.FrameSize:
		if f, err := wire.ParseSize(body); err == nil {
			s.sized(now, int(f.Largest))
		}
	case wire.FrameGoingAwayAck:
		if f, err := wire.ParseGoingAwayAck(body); err == nil {
			s.awayAcked(now, f.Number)
		}
	case wire.FramePathAnswer:
		if f, err := wire.ParsePathAnswer(body); err == nil {
			s.answered(now, from, f.Token)
		}
	}
}

// status takes the target's own account, which is also a request for an offer.
func (s *Session) status(now Instant, f wire.Status) {
	s.Status, s.Told = f, now
	s.queue(wire.StatusReply{Seq: f.Seq})
	s.wantOffer(now)
	if s.taken == 0 {
		s.slots = nil // an idle session keeps no memory of its busy times
		if len(s.jobs) == 0 {
			s.jobs = nil
		}
	}
}

// bad asks for the verification of an object that a target says is bad, as
// often as an honest target can need it.
func (s *Session) bad(now Instant, f wire.Bad) {
	if !s.valid(f.Level, int64(f.Index), 1) {
		return
	}
	if ok, _ := s.checks.take(now); ok {
		s.jobs = append(s.jobs, Job{Session: s, Slot: CheckSlot, Level: f.Level, First: int64(f.Index), Count: 1, Arrived: now})
	} else {
		s.Stats.Refused++
	}
}

// wander: an authentic datagram came from another address. The session moves
// there when an echo has shown that the target receives there.
func (s *Session) wander(now Instant, from netip.AddrPort, local netip.Addr, counter uint64) {
	if s.check.addr == from && now.Sub(s.check.at) < checkAgain {
		return
	}
	if s.check.addr != from {
		s.check = pathCheck{addr: from, local: local, token: s.token(counter)}
	}
	s.check.send, s.check.at = true, now
}

// token makes the token of a path check, which only who receives it knows.
func (s *Session) token(counter uint64) uint64 {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(s.seed[:len(s.seed):len(s.seed)], counter))
	return le64(sum[:])
}

// answered takes the echo of a path check.
func (s *Session) answered(now Instant, from netip.AddrPort, token uint64) {
	if !s.check.addr.IsValid() || from != s.check.addr || token != s.check.token {
		return
	}
	s.addr, s.local, s.proven = s.check.addr, s.check.local, true
	s.check = pathCheck{}
	s.fresh, s.wants = true, true // tickets name an address
	s.restartProbing(now)
}

// queue appends a control frame. A target that makes a server queue more than
// controlMax loses some: all of them are repeated or asked for again.
func (s *Session) queue(f wire.Frame) {
	if s.ended && f.Type() != wire.FrameClosed {
		return
	}
	was := len(s.control)
	s.control = f.Append(s.control)
	if len(s.control) > controlMax {
		s.control = s.control[:was]
		s.Stats.Refused++
	}
}

// Close ends the session and tells the target why.
func (s *Session) Close(code wire.Code, sentence string) {
	if s.ended {
		return
	}
	if sentence == "" {
		sentence = code.Sentence()
	}
	s.End()
	s.queue(wire.Closed{Code: code, Sentence: sentence})
}

// End forgets what is in work. What was queued as control frame is not sent.
func (s *Session) End() {
	if s.ended {
		return
	}
	s.ended = true
	for i := range s.slots {
		if sl := &s.slots[i]; sl.buf != nil {
			sl.buf.Free()
		}
	}
	s.slots = nil
	s.waiting, s.ready = [2]slotQueue{}, [2]slotQueue{}
	s.owed, s.taken, s.inWork = 0, 0, 0
	s.jobs, s.control = nil, s.control[:0]
	s.probeSize, s.check.send = 0, false
}

// Offer gives the target its alternates and, when t is not nil, a new ticket.
func (s *Session) Offer(now Instant, a wire.Alternates, t *wire.Ticket) {
	s.queue(a)
	if t != nil {
		s.queue(*t)
		s.ticketAt = now
	}
	s.wants, s.offered = false, now
}

// wantOffer has the alternates named again, unless that was done a moment ago.
func (s *Session) wantOffer(now Instant) {
	if now.Sub(s.offered) >= offerAgain {
		s.wants = true
	}
}

// Wants tells whether an offer is due.
func (s *Session) Wants() bool { return s.wants && !s.ended }

// Tick does what is due by time.
func (s *Session) Tick(now Instant) {
	if s.ended {
		return
	}
	if now >= s.due {
		s.tellPending(now)
	}
	s.tickAway(now)
	if s.ended {
		return
	}
	s.tickProbe(now)
	if now >= s.idleAt() {
		s.Close(wire.CodeIdle, "")
	}
	if now >= s.born.Add(sessionMost) {
		s.Close(wire.CodeKeysExpired, "")
	}
}

// idleAt is when nothing was heard of the target for too long.
func (s *Session) idleAt() Instant {
	if !s.confirmed {
		return s.born.Add(halfOpenLife)
	}
	return s.heard.Add(sessionIdle)
}

// Deadline is when Tick wants to be called.
func (s *Session) Deadline() Instant {
	if s.ended {
		return Never
	}
	d := earlier(s.born.Add(sessionMost), earlier(s.idleAt(), s.due))
	if s.away.active {
		d = earlier(d, s.away.again)
	}
	if s.proven {
		d = earlier(d, s.probeAt)
	}
	return d
}
