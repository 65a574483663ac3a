package engine

import (
	"time"

	"github.com/spate-project/spate/stream/wire"
)

type slotState uint8

const (
	slotFree    slotState = iota
	slotWaiting           // for memory
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
	load    int // bytes that count as memory of the session
	arrived Instant
	held    time.Duration
	buf     Buffer
	data    []byte // rest of buf that is not sent
	next    int    // of the queue it stands in, slot number + 1
}

// slotQueue is a list of slots, linked through slot.next; numbers of slots + 1.
type slotQueue struct{ head, tail int }

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
	if s.ranges++; s.ranges > MaxReads {
		s.Stats.Refused++ // no honest target asks for more at once than it may have in work
		return
	}
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
			s.join(sl, r.Priority == wire.Demand)
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
		demand: r.Priority == wire.Demand, level: r.Level, id: r.ID, first: int64(r.First), count: int(r.Count),
		pos: from, to: to, total: -1, arrived: now,
	}
	s.taken++
	s.owe(now, free)
	s.start(free)
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
func (s *Session) join(sl *slot, demand bool) {
	s.Stats.Joined++
	if sl.state == slotSending {
		return
	}
	if demand && sl.state == slotReading {
		sl.demand = true
	}
	sl.told = true
	s.Stats.Pending++
	s.queue(wire.Pending{ID: sl.id})
}

// owe notes that a slot waits for bytes from now on.
func (s *Session) owe(now Instant, i int) {
	sl := &s.slots[i]
	sl.arrived, sl.told = now, false
	s.owed++
	s.due = earlier(s.due, now.Add(pendingAfter))
}

// start has a slot's bytes read, or lets it wait while the session holds as
// much memory as it may.
func (s *Session) start(i int) {
	sl := &s.slots[i]
	n := min(sl.to-sl.pos, jobBytes)
	if s.inWork > 0 && s.inWork+n > sessionBytes {
		sl.state = slotWaiting
		s.push(&s.waiting[sl.priority()], i)
		return
	}
	sl.state, sl.load = slotReading, n
	s.inWork += n
	s.jobs = append(s.jobs, Job{
		Session: s, Slot: i, ID: sl.id, Level: sl.level, Demand: sl.demand, First: sl.first, Count: sl.count,
		From: sl.pos, To: sl.to, Arrived: sl.arrived,
	})
}

// unload gives back the memory that a slot held, to the next one that waits.
func (s *Session) unload(sl *slot) {
	s.inWork -= sl.load
	sl.load = 0
	for q := range s.waiting {
		for s.waiting[q].head != 0 {
			i := s.waiting[q].head - 1
			if n := min(s.slots[i].to-s.slots[i].pos, jobBytes); s.inWork > 0 && s.inWork+n > sessionBytes {
				return
			}
			s.shift(&s.waiting[q])
			s.start(i)
		}
	}
}

// Jobs moves the reads that are wanted into dst.
func (s *Session) Jobs(dst []Job) []Job {
	dst = append(dst, s.jobs...)
	clear(s.jobs)
	s.jobs = s.jobs[:0]
	return dst
}

// reads gives the slot that a job is for, nil when the session does not wait
// for it any more.
func (s *Session) reads(j Job) *slot {
	if s.ended || j.Slot < 0 || j.Slot >= len(s.slots) {
		return nil
	}
	sl := &s.slots[j.Slot]
	if sl.state != slotReading || sl.id != j.ID || sl.pos != j.From {
		return nil
	}
	return sl
}

// Complete takes the bytes of a job from its From on, at least one unless From
// is behind the end; total is the length of the whole answer. The session owns
// buf until it frees it.
func (s *Session) Complete(now Instant, j Job, buf Buffer, total int) {
	sl := s.reads(j)
	if sl == nil {
		buf.Free()
		return
	}
	data := buf.Bytes()
	s.inWork += len(data) - sl.load
	sl.load = len(data)
	sl.total = total
	sl.to = min(sl.to, total)
	sl.pos = min(sl.pos, sl.to) // a range behind the end is answered with the length alone
	sl.data = data[:min(len(data), sl.to-sl.pos)]
	sl.buf = buf
	if len(sl.data) == 0 && sl.pos < sl.to {
		buf.Free()
		sl.buf = nil
		s.Fail(j, j.First, wire.CodeInternal)
		return
	}
	s.owed--
	sl.held = now.Sub(sl.arrived)
	sl.state = slotSending
	s.push(&s.ready[sl.priority()], j.Slot)
}

// Fail takes a job that cannot be answered: index is the object of which this
// server has no good copy.
func (s *Session) Fail(j Job, index int64, code wire.Code) {
	if sl := s.reads(j); sl != nil {
		s.free(sl)
		s.queue(wire.Failed{ID: j.ID, Level: j.Level, Index: uint64(index), Code: code})
	}
}

// Refuse gives a job back that the owner has no room for now.
func (s *Session) Refuse(j Job) {
	if sl := s.reads(j); sl != nil {
		s.free(sl)
		s.Stats.Refused++
		s.queue(wire.Busy{ID: j.ID, RetryAfterMS: busyRetry})
	}
}

// free gives up a slot that waits for its bytes.
func (s *Session) free(sl *slot) {
	s.owed--
	s.taken--
	load := *sl
	*sl = slot{}
	s.unload(&load)
}

func (s *Session) push(q *slotQueue, i int) {
	s.slots[i].next = 0
	if q.head == 0 {
		q.head = i + 1
	} else {
		s.slots[q.tail-1].next = i + 1
	}
	q.tail = i + 1
}

// shift takes the first slot off a queue.
func (s *Session) shift(q *slotQueue) *slot {
	sl := &s.slots[q.head-1]
	if q.head = sl.next; q.head == 0 {
		q.tail = 0
	}
	sl.next = 0
	return sl
}

func (sl *slot) priority() wire.Priority {
	if sl.demand {
		return wire.Demand
	}
	return wire.ReadAhead
}

// sent takes the first slot off a queue of ready ones, whose bytes have been
// sent. When its answer goes on, the next part is read.
func (s *Session) sent(now Instant, q *slotQueue) {
	i := q.head - 1
	sl := s.shift(q)
	sl.buf.Free()
	sl.buf, sl.data = nil, nil
	load := slot{load: sl.load}
	sl.load = 0
	if sl.pos < sl.to {
		s.inWork -= load.load // kept for the next part
		s.owe(now, i)
		s.start(i)
		return
	}
	s.taken--
	*sl = slot{}
	s.unload(&load)
}

// tellPending keeps the promise to answer each request within a few
// milliseconds.
func (s *Session) tellPending(now Instant) {
	s.due = Never
	if s.owed == 0 {
		return
	}
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.state != slotReading && sl.state != slotWaiting || sl.told {
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
