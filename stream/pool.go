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
	small, large chan *buffer
}

// buffer holds a part of an answer. It belongs to the worker that took it, then
// to the session it is given to, which frees it.
type buffer struct {
	home chan *buffer
	room []byte
	n    int
}

// Bytes are the bytes that were read.
func (b *buffer) Bytes() []byte { return b.room[:b.n] }

// Free gives the buffer back.
func (b *buffer) Free() { b.home <- b }

func newBuffers() *buffers {
	return &buffers{small: make(chan *buffer, smallBuffers), large: make(chan *buffer, largeBuffers)}
}

// stock counts the buffers that were made, so that they are made as needed.
type stock struct {
	made atomic.Int64
	max  int64
	size int
}

func (s *stock) take(ctx context.Context, home chan *buffer) *buffer {
	select {
	case b := <-home:
		return b
	default:
	}
	if s.made.Add(1) <= s.max {
		return &buffer{home: home, room: make([]byte, s.size)}
	}
	s.made.Add(-1)
	select {
	case b := <-home:
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
	var b *buffer
	if want <= smallAnswer {
		b = s.smallStock.take(ctx, s.buffers.small)
	} else {
		b = s.largeStock.take(ctx, s.buffers.large)
	}
	if b == nil {
		return // shutting down
	}
	n, total, err := e.image.ReadAnswer(b.room[:min(want, len(b.room))], int(j.Level), j.First, j.Count, int64(j.From))
	now := s.now()
	b.n = n
	e.mu.Lock()
	if err != nil {
		b.Free()
		index, code := s.explainFailure(e, j, err)
		e.session.Fail(j, index, code)
	} else {
		e.session.Complete(now, j, b, int(total))
	}
	s.postLocked(e)
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

func (s *Server) check(e *entry, j engine.Job) {
	d := e.image.Disk()
	if err := e.image.Check(int(j.Level), j.First); err != nil {
		s.log.Warn("object is damaged and fenced", keyDisk(d), keyObject(j.Level, j.First), keyError(err))
		return
	}
	e.mu.Lock()
	from := e.session.Addr()
	e.mu.Unlock()
	s.log.Warn("a target could not verify an object that is good here", keyDisk(d), keyObject(j.Level, j.First),
		keyTarget(from))
}
