package stream

import (
	"errors"
	"time"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/udp"
)

// loop is what one goroutine does with one socket. What has arrived comes
// first, always: a target takes silence for death. Only when nothing waits
// there it does one piece of work of some microseconds, a read of what lies in
// memory or one train, and looks again. So an answer from memory passes through
// no other goroutine; what must be waited for, a disk or a full socket, is
// handed to those who may wait.
type loop struct {
	s     *Server
	g     *egress
	jobs  [2]jobRing // demand, read-ahead
	burst int        // reads since the last train
	since engine.Instant
	late  bool // it has worked for loopLate without a rest
}

// jobRing is a bounded queue of reads.
type jobRing struct {
	ring    [loopQueue]engine.Job
	head, n int
}

func (r *jobRing) push(j engine.Job) bool {
	if r.n == len(r.ring) {
		return false
	}
	r.ring[(r.head+r.n)%len(r.ring)] = j
	r.n++
	return true
}

func (r *jobRing) pop() (j engine.Job, ok bool) {
	if r.n == 0 {
		return j, false
	}
	j = r.ring[r.head]
	r.ring[r.head] = engine.Job{}
	r.head = (r.head + 1) % len(r.ring)
	r.n--
	return j, true
}

// run receives and answers until the socket is closed or fails.
func (l *loop) run() error {
	b := udp.Batch{Buf: make([]byte, udp.MaxReceive)}
	busy := false
	for {
		more, err := true, error(nil)
		if busy {
			more, err = l.g.conn.TryReceive(&b)
		} else {
			err = l.g.conn.Receive(&b)
		}
		switch {
		case err != nil:
			if _, refused := errors.AsType[*udp.Refused](err); !refused {
				return err
			}
		case more:
			l.s.counters.received.Add(uint64(len(b.Data)))
			now := l.s.now()
			if !busy {
				l.since, l.late, busy = now, false, true
			}
			l.take(now, &b)
		default:
			busy = l.work()
		}
	}
}

// take takes a train that has arrived. When the loop has had much to do for
// long, the sessions whose reads wait here are looked after by the clock, which
// tells their targets so.
func (l *loop) take(now engine.Instant, b *udp.Batch) {
	if !l.late && now.Sub(l.since) >= loopLate {
		l.late = true
		for i := range l.jobs {
			q := &l.jobs[i]
			for k := range q.n {
				l.s.clock.hurry(q.ring[(q.head+k)%len(q.ring)].Session.Owner.(*entry))
			}
		}
	}
	l.s.take(l, now, b)
}

// offer takes a read of a session whose image may be in memory; false when it
// is for the pool.
func (l *loop) offer(e *entry, j engine.Job) bool {
	if e.quick == nil || j.Slot == engine.CheckSlot {
		return false
	}
	q := &l.jobs[1]
	if j.Demand {
		q = &l.jobs[0]
	}
	return q.push(j)
}

// work does the next piece of work, and tells whether there may be more. After
// some reads it sends what they gave, so that trains are full and yet leave soon.
func (l *loop) work() bool {
	if l.burst < loopBurst {
		for i := range l.jobs {
			if j, ok := l.jobs[i].pop(); ok {
				l.burst++
				l.read(j)
				return true
			}
		}
	}
	if l.g.try(l) {
		return true
	}
	l.burst = 0
	return l.jobs[0].n+l.jobs[1].n > 0
}

// read answers a job from memory or hands it to the pool.
func (l *loop) read(j engine.Job) {
	s, e := l.s, j.Session.Owner.(*entry)
	want := j.To - j.From
	if b := s.buffers.try(want); b != nil {
		n, total, ok := e.quick.TryReadAnswer(b.room[:min(want, len(b.room))], int(j.Level), j.First, j.Count, int64(j.From))
		if ok {
			b.n = n
			now := s.now()
			s.delay.quick(now.Sub(j.Arrived))
			e.mu.Lock()
			e.session.Complete(now, j, b, int(total))
			s.postLocked(e, l)
			e.mu.Unlock()
			return
		}
		b.Free()
	}
	e.mu.Lock()
	s.toPoolLocked(e, j)
	s.postLocked(e, l)
	e.mu.Unlock()
}

// loopLate is short against the 5 ms within which a target hears of its read.
const loopLate = time.Millisecond
