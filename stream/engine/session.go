package engine

import (
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
	counter   uint64 // highest of the target's datagrams

	slots   []slot // grows to MaxReads
	taken   int    // slots not free
	reading int    // slots in state slotReading
	ready   [2]readyQueue
	jobs    []Job
	control []byte // whole frames

	packet    int // bytes of a datagram toward the target
	tried     int // index into the sizes to probe
	probes    int
	probeAt   Instant
	probeSize int
	check     pathCheck
	away      awayState
	wants     bool // an offer of alternates and perhaps a ticket
	fresh     bool // resumed: a new ticket is due, whatever the age of the old one
	ticketAt  Instant
	scheduled bool    // stands in a Schedule
	deficit   int     // bytes that it may send more
	due       Instant // when the oldest read must be told to be pending
	Status    wire.Status
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

type slotState uint8

const (
	slotFree slotState = iota
	slotReading
	slotSending
)

// slot is one request range in work.
type slot struct {
	state   slotState
	told    bool // pending was sent
	demand  bool
	level   uint8
	id      uint32
	first   int64
	count   int
	pos, to int // what is still to be sent
	total   int // of the whole answer, once known
	arrived Instant
	held    time.Duration
	buf     Buffer
	data    []byte // rest of buf that is not sent
	next    int    // of the ready queue, slot number + 1
}

// readyQueue is a list of slots, linked through slot.next.
type readyQueue struct{ head, tail int }

type pathCheck struct {
	addr  netip.AddrPort
	local netip.Addr
	token uint64
	send  bool
	at    Instant
}

type awayState struct {
	active bool
	frame  wire.GoingAway
	acked  bool
	again  Instant
	until  Instant
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
		if err == secure.ErrReplay {
			s.Stats.Replays++
		} else {
			s.Stats.Forged++
		}
		return
	}
	if s.ended {
		return
	}
	s.heard = now
	s.confirmed = true
	s.first = nil
	if from == s.addr {
		s.proven = true
		s.local = local
	} else if counter > s.counter {
		s.wander(now, from, local, datagram)
	}
	s.counter = max(s.counter, counter)
	s.take(now, from, frames)
}

// Flight takes the frames of the ticket flight that made the session; a
// flight that was sent again asks for the same once more.
func (s *Session) Flight(now Instant, from netip.AddrPort, frames []byte) {
	if !s.ended && from == s.addr {
		s.take(now, from, frames)
	}
}

// Refuse gives a job back that the owner has no room for now.
func (s *Session) Refuse(j Job) {
	sl := &s.slots[j.Slot]
	if s.ended || sl.state != slotReading || sl.id != j.ID {
		return
	}
	s.reading--
	s.taken--
	*sl = slot{}
	s.Stats.Refused++
	s.queue(wire.Busy{ID: j.ID, RetryAfterMS: busyRetry})
}

// take handles the frames of an authentic datagram or flight.
func (s *Session) take(now Instant, from netip.AddrPort, frames []byte) {
	for len(frames) > 0 {
		t, body, rest, err := wire.Next(frames)
		if err != nil {
			s.Stats.Malformed++
			return
		}
		frames = rest
		if t == wire.FrameRead {
			r, err := wire.ParseRead(body)
			if err != nil {
				s.Stats.Malformed++
				continue
			}
			s.read(now, &r)
			continue
		}
		s.frame(now, from, t, body)
	}
}

func (s *Session) frame(now Instant, from netip.AddrPort, t wire.FrameType, body []byte) {
	switch t {
	case wire.FrameStatus:
		if f, err := wire.ParseStatus(body); err == nil {
			s.Status = f
			s.queue(wire.StatusReply{Seq: f.Seq})
			s.wants = true
		}
	case wire.FrameLeave:
		if f, err := wire.ParseLeave(body); err == nil {
			s.Stats.Left, s.Stats.Pause = f.Reason, time.Duration(f.PauseUS)*time.Microsecond
			s.End()
		}
	case wire.FrameBad:
		if f, err := wire.ParseBad(body); err == nil && s.valid(f.Level, int64(f.Index), 1) {
			s.jobs = append(s.jobs, Job{Session: s, Slot: CheckSlot, Level: f.Level, First: int64(f.Index), Count: 1, Arrived: now})
		}
	case wire.FrameSize:
		if f, err := wire.ParseSize(body); err == nil {
			s.sized(now, int(f.Largest))
		}
	case wire.FrameGoingAwayAck:
		if f, err := wire.ParseGoingAwayAck(body); err == nil && f.Number == s.away.frame.Number && s.away.active {
			s.away.acked = true
			s.away.again = now.Add(awayReminder)
		}
	case wire.FramePathAnswer:
		if f, err := wire.ParsePathAnswer(body); err == nil && s.check.token != 0 && f.Token == s.check.token && from == s.check.addr {
			s.addr, s.local, s.proven = s.check.addr, s.check.local, true
			s.check = pathCheck{}
			s.restartProbing(now)
		}
	case wire.FramePing:
		if f, err := wire.ParsePing(body); err == nil {
			s.queue(wire.Pong{Token: f.Token})
		}
	}
}

// wander: an authentic datagram came from another address. The session moves
// there when an echo has shown that the target receives there.
func (s *Session) wander(now Instant, from netip.AddrPort, local netip.Addr, datagram []byte) {
	if s.check.addr == from && now.Sub(s.check.at) < checkAgain {
		return
	}
	if s.check.addr != from {
		s.check = pathCheck{addr: from, local: local, token: checkToken(datagram)}
	}
	s.check.send, s.check.at = true, now
}

// checkToken takes a token that nobody else can know out of the tag of an
// authentic datagram: unpredictable for whoever does not hold the key, and seen
// only by the path on which it came.
func checkToken(datagram []byte) uint64 { return le64(datagram[len(datagram)-8:]) | 1 }

// valid tells whether objects lie within the vDisk.
func (s *Session) valid(level uint8, first int64, count int) bool {
	if level > s.Disk.Levels {
		return false
	}
	n := objects(&s.Disk, level)
	return first >= 0 && count > 0 && first < n && int64(count) <= n-first
}

// objects is how many objects a level has.
func objects(d *wire.Disk, level uint8) int64 {
	n := (d.Size + int64(d.ChunkSize) - 1) / int64(d.ChunkSize)
	for range level {
		n = (n + Fanout - 1) / Fanout
	}
	return n
}

// longest is the upper bound of an answer.
func (s *Session) longest(level uint8, count int) int {
	if level == 0 {
		return count * int(s.Disk.ChunkSize)
	}
	return count * PageBound
}

// read takes a request.
func (s *Session) read(now Instant, r *wire.Read) {
	s.Stats.Reads++
	bound := s.longest(r.Level, int(r.Count))
	if !s.valid(r.Level, int64(r.First), int(r.Count)) || bound > MaxAnswer {
		s.Stats.Refused++
		s.queue(wire.Failed{ID: r.ID, Level: r.Level, Index: r.First, Code: wire.CodeOutOfBounds})
		return
	}
	if r.N == 0 {
		s.readRange(now, r, 0, bound)
	}
	for i := range r.Ranges[:r.N] {
		from, to := int(r.Ranges[i].From), min(int(r.Ranges[i].To), bound)
		if from < to {
			s.readRange(now, r, from, to)
		}
	}
}

func (s *Session) readRange(now Instant, r *wire.Read, from, to int) {
	free := -1
	for i, seen := 0, 0; i < len(s.slots) && (seen < s.taken || free < 0); i++ {
		sl := &s.slots[i]
		if sl.state == slotFree {
			if free < 0 {
				free = i
			}
			continue
		}
		seen++
		if sl.id == r.ID && sl.covers(from, to) {
			s.join(sl)
			return
		}
	}
	if free < 0 && len(s.slots) < MaxReads {
		s.slots = append(s.slots, slot{})
		free = len(s.slots) - 1
	}
	if free < 0 {
		s.Stats.Refused++
		s.queue(wire.Busy{ID: r.ID, RetryAfterMS: busyRetry})
		return
	}
	s.slots[free] = slot{
		state: slotReading, demand: r.Priority == wire.Demand, level: r.Level, id: r.ID, first: int64(r.First), count: int(r.Count),
		pos: from, to: to, total: -1, arrived: now,
	}
	s.taken++
	s.reading++
	s.submit(free)
	s.due = earlier(s.due, now.Add(pendingAfter))
}

// covers tells whether the bytes [from, to) are among those still to be sent.
func (sl *slot) covers(from, to int) bool {
	if sl.total >= 0 {
		to = min(to, sl.total)
	}
	return sl.pos <= from && from < to && to <= sl.to
}

// join handles a request that is in work already: it is told to wait, unless
// its bytes are on their way.
func (s *Session) join(sl *slot) {
	s.Stats.Joined++
	if sl.state == slotReading {
		sl.told = true
		s.Stats.Pending++
		s.queue(wire.Pending{ID: sl.id})
	}
}

func (s *Session) submit(i int) {
	sl := &s.slots[i]
	s.jobs = append(s.jobs, Job{
		Session: s, Slot: i, ID: sl.id, Level: sl.level, Demand: sl.demand, First: sl.first, Count: sl.count,
		From: sl.pos, To: sl.to, Arrived: sl.arrived,
	})
}

// Jobs moves the reads that are wanted into dst.
func (s *Session) Jobs(dst []Job) []Job {
	dst = append(dst, s.jobs...)
	s.jobs = s.jobs[:0]
	return dst
}

// Complete takes the bytes of a job from its From on; total is the length of
// the whole answer. The session owns buf until it frees it.
func (s *Session) Complete(now Instant, j Job, buf Buffer, total int) {
	sl := &s.slots[j.Slot]
	if s.ended || sl.state != slotReading || sl.id != j.ID || sl.pos != j.From {
		buf.Free()
		return
	}
	s.reading--
	sl.total = total
	sl.to = min(sl.to, total)
	sl.pos = min(sl.pos, sl.to) // a range behind the end is answered with the length alone
	sl.held = now.Sub(sl.arrived)
	sl.buf = buf
	sl.data = buf.Bytes()
	if n := sl.to - sl.pos; len(sl.data) > n {
		sl.data = sl.data[:max(n, 0)]
	}
	sl.state = slotSending
	s.push(j.Slot)
}

// Fail takes a job that cannot be answered: index is the object of which this
// server has no good copy.
func (s *Session) Fail(j Job, index int64, code wire.Code) {
	sl := &s.slots[j.Slot]
	if s.ended || sl.state != slotReading || sl.id != j.ID {
		return
	}
	s.reading--
	s.taken--
	*sl = slot{}
	s.queue(wire.Failed{ID: j.ID, Level: j.Level, Index: uint64(index), Code: code})
}

func (s *Session) push(i int) {
	sl := &s.slots[i]
	sl.next = 0
	q := &s.ready[sl.priority()]
	if q.head == 0 {
		q.head = i + 1
	} else {
		s.slots[q.tail-1].next = i + 1
	}
	q.tail = i + 1
}

func (sl *slot) priority() wire.Priority {
	if sl.demand {
		return wire.Demand
	}
	return wire.ReadAhead
}

// pop takes the first slot off a queue. When its answer goes on, the next part
// is read.
func (s *Session) pop(q *readyQueue) {
	i := q.head - 1
	sl := &s.slots[i]
	if q.head = sl.next; q.head == 0 {
		q.tail = 0
	}
	sl.buf.Free()
	sl.buf, sl.data = nil, nil
	if sl.pos < sl.to {
		sl.state = slotReading
		s.reading++
		s.submit(i)
		return
	}
	s.taken--
	*sl = slot{}
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

// End forgets what is in work. What was queued as control frame is still sent.
func (s *Session) End() {
	if s.ended {
		return
	}
	s.ended = true
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.buf != nil {
			sl.buf.Free()
		}
		*sl = slot{}
	}
	s.ready = [2]readyQueue{}
	s.reading, s.taken = 0, 0
	s.jobs = s.jobs[:0]
	s.control = s.control[:0]
}

// GoAway asks the target to move, and repeats it until the target has left.
func (s *Session) GoAway(now Instant, f wire.GoingAway, until Instant) {
	s.away = awayState{active: true, frame: f, again: now, until: until}
}

// Offer gives the target its alternates and, when t is not nil, a new ticket.
func (s *Session) Offer(now Instant, a wire.Alternates, t *wire.Ticket) {
	s.queue(a)
	if t != nil {
		s.queue(*t)
		s.ticketAt = now
	}
	s.wants = false
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
	if s.away.active && now >= s.away.again {
		f := s.away.frame
		f.DeadlineMS = uint32(max(0, s.away.until.Sub(now)).Milliseconds())
		if s.away.acked {
			f.SlotMS = 0
		}
		s.queue(f)
		s.away.again = now.Add(awayAgain)
		if s.away.acked {
			s.away.again = now.Add(awayReminder)
		}
	}
	s.tickProbe(now)
	if now.Sub(s.heard) > sessionIdle || !s.confirmed && now.Sub(s.born) > halfOpenLife {
		s.Close(wire.CodeIdle, "")
	}
	if now.Sub(s.born) > sessionLife+sessionLife/6 || s.sealer.Counter() > keyDatagrams+keyDatagrams/4 {
		s.Close(wire.CodeKeysExpired, "")
	}
}

// tellPending keeps the promise to answer each request within a few
// milliseconds.
func (s *Session) tellPending(now Instant) {
	s.due = Never
	if s.reading == 0 {
		return
	}
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.state != slotReading || sl.told {
			continue
		}
		if at := sl.arrived.Add(pendingAfter); now < at {
			s.due = earlier(s.due, at)
			continue
		}
		sl.told = true
		s.Stats.Pending++
		s.queue(wire.Pending{ID: sl.id})
	}
}

// Deadline is when Tick wants to be called.
func (s *Session) Deadline() Instant {
	if s.ended {
		return Never
	}
	d := earlier(s.heard.Add(sessionIdle), s.due)
	if !s.confirmed {
		d = earlier(d, s.born.Add(halfOpenLife))
	}
	if s.away.active {
		d = earlier(d, s.away.again)
	}
	if s.proven {
		d = earlier(d, s.probeAt)
	}
	return d
}
