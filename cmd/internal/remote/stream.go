package remote

import (
	"context"
	"errors"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/vdisk/tree"
)

// Sink takes a disk in order.
type Sink struct {
	// Data gets consecutive bytes; p is valid during the call.
	Data func(p []byte, off int64) error
	// Hole gets a run of zeros that was never fetched. Nil: Data gets the zeros.
	Hole func(off, n int64) error
}

// zeros is what Data gets for holes.
var zeros [maxRun]byte

// piece is a run that was asked for or a hole, in the order of the disk.
type piece struct {
	run     *run // nil: a hole
	off, to int64
}

// maxPieces bounds what a stream has under way; holes count too.
const maxPieces = 256

// reader is one Stream: chunks are asked for far ahead, verified and decoded by the workers and by the caller, and
// handed over in order.
type reader struct {
	disk   *Disk
	rq     *request
	sink   Sink
	from   int64 // bytes
	to     int64
	next   int64 // chunk: what is before was planned
	end    int64 // chunk
	pages  int64 // leaf page: those before were asked for
	look   int64 // how many leaf pages ahead
	pieces []piece
	head   int
	leaf   *pageRead // without which next cannot be planned; held
}

// Stream reads the bytes [from, to) in order at full speed, past the caches: it asks far ahead, and verifies and decodes
// on all processors. The error of a sink ends it.
func (d *Disk) Stream(ctx context.Context, from, to int64, w Sink) error {
	if err := blockdev.CheckRange(from, to-from, d.shape.Size); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rq, err := d.enterLocked()
	if err != nil {
		return err
	}
	defer d.leaveLocked(rq)
	perLeaf := int64(d.shape.ChunkSize) << fanoutShift
	s := &reader{
		disk: d, rq: rq, sink: w, from: from, to: to,
		next: from >> d.shift, end: (to + int64(d.shape.ChunkSize) - 1) >> d.shift,
		look: min(d.options.FlightBytes/perLeaf+pagesAhead, maxPageReads/aheadPart/2, int64(d.index.limit)/2),
	}
	s.pages = s.next >> fanoutShift
	defer s.closeLocked()
	for {
		s.planLocked()
		d.submitLocked(rq)
		if s.head == len(s.pieces) {
			if s.next == s.end {
				return nil
			}
			if err := s.waitLocked(ctx); err != nil {
				return err
			}
			continue
		}
		if err := s.deliverLocked(ctx); err != nil {
			d.stats.Errors++
			return err
		}
	}
}

// planLocked asks for pieces as long as there is room and the index is known, and for the index ahead of that.
func (s *reader) planLocked() {
	d := s.disk
	if s.head > 0 {
		n := copy(s.pieces, s.pieces[s.head:])
		clear(s.pieces[n:])
		s.pieces, s.head = s.pieces[:n], 0
	}
	s.dropLeafLocked()
	for s.next < s.end && len(s.pieces) < maxPieces && len(s.rq.list) < cap(s.rq.list)-tree.MaxLevels {
		zero, until, leaf, known := d.index.span(s.next)
		if !known {
			if d.livePage+d.missingLocked(s.next) <= maxPageReads {
				s.leaf = d.askPagesLocked(s.rq, s.next, true)
				s.leaf.refs++
			}
			break
		}
		until = min(until, s.end)
		if zero {
			s.holeLocked(until)
			continue
		}
		if !d.allowedLocked(0, false) {
			break
		}
		most := min(s.end, s.next+d.perRun, (s.next>>fanoutShift+1)<<fanoutShift)
		for leaf.zero>>((most-1)&(tree.Fanout-1))&1 == 1 {
			most-- // ends at next at the latest, which is not zero
		}
		if _, ok := d.singly[s.next>>fanoutShift]; ok {
			most = s.next + 1
		}
		r := d.newRunLocked(s.next, int(most-s.next), leaf, true)
		r.private = true
		s.rq.list = append(s.rq.list, &r.fetch)
		s.addLocked(r, most)
	}
	s.lookAheadLocked()
	if len(s.rq.list) > 0 {
		d.roomLocked() // for the next stream
	}
}

// addLocked appends a piece up to a chunk.
func (s *reader) addLocked(r *run, until int64) {
	off := max(s.from, s.next<<s.disk.shift)
	s.pieces = append(s.pieces, piece{run: r, off: off, to: min(s.to, until<<s.disk.shift)})
	s.next = until
}

// holeLocked appends zeros up to a chunk, joined to those before.
func (s *reader) holeLocked(until int64) {
	if n := len(s.pieces); n > 0 && s.pieces[n-1].run == nil {
		s.next = until
		s.pieces[n-1].to = min(s.to, until<<s.disk.shift)
		return
	}
	s.addLocked(nil, until)
}

// lookAheadLocked asks for leaf pages before they are needed.
func (s *reader) lookAheadLocked() {
	d := s.disk
	s.pages = max(s.pages, s.next>>fanoutShift)
	for s.pages < s.next>>fanoutShift+s.look && s.pages<<fanoutShift < s.end {
		c := s.pages << fanoutShift
		if _, until, _, known := d.index.span(c); known {
			s.pages = max(s.pages+1, until>>fanoutShift)
			continue
		}
		if len(s.rq.list)+d.index.levels > cap(s.rq.list) || d.livePage+d.missingLocked(c) > maxPageReads/aheadPart {
			return
		}
		d.askPagesLocked(s.rq, c, false)
		s.pages++
	}
}

// waitLocked waits for the page or the room without which nothing can be planned.
func (s *reader) waitLocked(ctx context.Context) error {
	d := s.disk
	p := s.leaf
	if p == nil {
		if zero, _, _, known := d.index.span(s.next); known && (zero || d.allowedLocked(0, false)) {
			return nil
		}
		return d.sleepLocked(ctx, s.rq, &d.farRoom)
	}
	if p.state != readEnded && p.state != readFailed {
		if err := d.sleepLocked(ctx, s.rq, &p.waiters); err != nil {
			return err
		}
	}
	if p.state == readFailed {
		d.stats.Errors++
		return d.readError(&p.fail)
	}
	return nil
}

// deliverLocked hands the first piece over, when it is there.
func (s *reader) deliverLocked(ctx context.Context) error {
	d, p := s.disk, s.pieces[s.head]
	if p.run == nil {
		s.head++
		d.mu.Unlock()
		err := s.hole(p)
		d.mu.Lock()
		return err
	}
	r := p.run
	for {
		switch r.state {
		case runReady:
			if r.users == 0 {
				d.unpackRunLocked(r)
				continue
			}
		case runDone:
			s.head++
			d.mu.Unlock()
			data := r.buf
			if r.out != nil {
				data = r.out
			}
			first := r.first << d.shift
			err := s.sink.Data(data.bytes[p.off-first:p.to-first], p.off)
			d.mu.Lock()
			d.stats.Reads++
			d.stats.ReadBytes += uint64(p.to - p.off)
			d.dropLocked(r)
			return err
		case runFailed:
			if !errors.Is(r.fail.err, engine.ErrNoGoodCopy) || r.count == 1 {
				return d.readError(&r.fail)
			}
			s.head++
			d.dropLocked(r)
			return s.singlyLocked(ctx, p)
		}
		if err := d.sleepLocked(ctx, s.rq, &r.waiters); err != nil {
			return err
		}
	}
}

// singlyLocked reads a piece of which no server has all chunks, chunk by chunk.
func (s *reader) singlyLocked(ctx context.Context, p piece) error {
	d := s.disk
	b := d.buffers.take(int(p.to - p.off))
	d.mu.Unlock()
	data := b.bytes[:p.to-p.off]
	err := d.ReadAt(ctx, data, p.off)
	if err == nil {
		err = s.sink.Data(data, p.off)
	}
	d.mu.Lock()
	d.buffers.give(b)
	return err
}

func (s *reader) hole(p piece) error {
	if s.sink.Hole != nil {
		return s.sink.Hole(p.off, p.to-p.off)
	}
	for off := p.off; off < p.to; {
		n := min(p.to-off, int64(len(zeros)))
		if err := s.sink.Data(zeros[:n], off); err != nil {
			return err
		}
		off += n
	}
	return nil
}

func (s *reader) dropLeafLocked() {
	if p := s.leaf; p != nil {
		s.leaf = nil
		s.disk.dropReadLocked(p)
	}
}

// closeLocked lets go of what was not delivered.
func (s *reader) closeLocked() {
	s.dropLeafLocked()
	for _, p := range s.pieces[s.head:] {
		if p.run == nil {
			continue
		}
		if p.run.state == runAsked {
			p.run.state = runZero // nobody wants it when it comes
		}
		s.disk.dropLocked(p.run)
	}
}
