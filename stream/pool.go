package stream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/wire"
)

// buffers is the bounded memory of answers on their way from disk to socket.
type buffers struct {
	small, large stock
}

// buffer holds a part of an answer. It belongs to the worker that took it, then
// to the session it is given to, which frees it.
type buffer struct {
	home *stock
	room []byte
	n    int
}

// Bytes are the bytes that were read.
func (b *buffer) Bytes() []byte { return b.room[:b.n] }

// Free gives the buffer back.
func (b *buffer) Free() { b.home.free <- b }

// stock holds buffers of one size. They are made as they are needed.
type stock struct {
	free chan *buffer // has room for all
	made atomic.Int64
	size int
}

func newBuffers() *buffers {
	return &buffers{
		small: stock{free: make(chan *buffer, smallBuffers), size: smallAnswer},
		large: stock{free: make(chan *buffer, largeBuffers), size: largeAnswer},
	}
}

// of gives the stock for answers of n bytes.
func (b *buffers) of(n int) *stock {
	if n <= smallAnswer {
		return &b.small
	}
	return &b.large
}

// try takes a buffer for n bytes, or as many as one has; nil when all are in use.
func (b *buffers) try(n int) *buffer {
	s := b.of(n)
	select {
	case b := <-s.free:
		return b
	default:
	}
	if s.made.Add(1) <= int64(cap(s.free)) {
		return &buffer{home: s, room: make([]byte, s.size)}
	}
	s.made.Add(-1)
	return nil
}

// take is try that waits until ctx ends.
func (b *buffers) take(ctx context.Context, n int) *buffer {
	if b := b.try(n); b != nil {
		return b
	}
	select {
	case b := <-b.of(n).free:
		return b
	case <-ctx.Done():
		return nil
	}
}

// pool reads from one store with a bounded number of workers, demand before
// read-ahead.
type pool struct {
	s       *Server
	demand  chan engine.Job
	ahead   chan engine.Job
	workers sync.WaitGroup
}

func (s *Server) newPool(ctx context.Context) *pool {
	p := &pool{s: s, demand: make(chan engine.Job, poolQueue), ahead: make(chan engine.Job, poolQueue)}
	for range poolWorkers {
		// Ended by ctx; Server.Run waits for it.
		p.workers.Add(1)
		go p.work(ctx)
	}
	return p
}

// submit hands a job over; false when the store has too much to do already.
func (p *pool) submit(j engine.Job) bool {
	q := p.ahead
	if j.Demand {
		q = p.demand
	}
	select {
	case q <- j:
		return true
	default:
		return false
	}
}

func (p *pool) work(ctx context.Context) {
	defer p.workers.Done()
	for {
		var j engine.Job
		select {
		case j = <-p.demand:
		default:
			select {
			case j = <-p.demand:
			case j = <-p.ahead:
			case <-ctx.Done():
				return
			}
		}
		p.s.do(ctx, j)
	}
}

// do reads what a job names and gives it to its session.
func (s *Server) do(ctx context.Context, j engine.Job) {
	e := j.Session.Owner.(*entry)
	if j.Slot == engine.CheckSlot {
		s.check(e, j)
		return
	}
	want := j.To - j.From
	b := s.buffers.take(ctx, want)
	if b == nil {
		return // shutting down
	}
	n, total, err := e.image.ReadAnswer(b.room[:min(want, len(b.room))], int(j.Level), j.First, j.Count, int64(j.From))
	now := s.now()
	b.n = n
	e.mu.Lock()
	s.delay.end(now.Sub(j.Arrived))
	if err != nil {
		b.Free()
		index, code := s.explainFailure(e, j, err)
		e.session.Fail(j, index, code)
	} else {
		e.session.Complete(now, j, b, int(total))
	}
	s.postLocked(e, nil)
	e.mu.Unlock()
}

// explainFailure turns a failed read into what the target is told.
func (s *Server) explainFailure(e *entry, j engine.Job, err error) (index int64, code wire.Code) {
	var bad BadObject
	if errors.As(err, &bad) {
		_, index = bad.Object()
		return index, wire.CodeDamaged
	}
	s.storeTrouble(e.image, err)
	return j.First, wire.CodeStoreGone
}

// check looks at an object that a target could not verify.
func (s *Server) check(e *entry, j engine.Job) {
	d := e.image.Disk()
	err := e.image.Check(int(j.Level), j.First)
	var bad BadObject
	switch {
	case errors.As(err, &bad):
		// Whoever keeps the store says so in full.
		s.log.Debug("a target could not verify an object that is damaged here", keyDisk(d), keyObject(j.Level, j.First), keyError(err))
		return
	case err != nil:
		s.storeTrouble(e.image, err)
		return
	}
	e.mu.Lock()
	from := e.session.Addr()
	e.mu.Unlock()
	s.log.Warn("a target could not verify an object that is good here", keyDisk(d), keyObject(j.Level, j.First),
		keyTarget(from))
}
