package remote

import (
	"context"
	"errors"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/vdisk/tree"
)

// ReadAt implements blockdev.Device: it fills p with what is at off, or fails. The end of ctx ends the wait, not the
// fetch.
func (d *Disk) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := blockdev.CheckRange(off, int64(len(p)), d.shape.Size); err != nil {
		return err
	}
	if len(p) == 0 {
		return nil
	}
	d.mu.Lock()
	rq, err := d.enterLocked()
	if err != nil {
		d.mu.Unlock()
		return err
	}
	d.stats.Reads++
	d.stats.ReadBytes += uint64(len(p))
	d.ahead.note(off, int64(len(p)))
	d.demandLocked(rq, off>>d.shift, off+int64(len(p)))
	d.extendLocked(rq)
	d.submitLocked(rq)
	err = d.readLocked(ctx, rq, p, off)
	if err != nil {
		d.stats.Errors++
	}
	d.leaveLocked(rq)
	d.mu.Unlock()
	return err
}

// demandLocked asks for the chunks from c on up to the byte end, as far as the horizon reaches.
func (d *Disk) demandLocked(rq *request, c, end int64) {
	if !d.room.empty() {
		rq.planned = c // others were first
		return
	}
	last := (end-1)>>d.shift + 1
	rq.planned = d.planLocked(rq, c, min(last, c+max(1, int64(horizon)>>d.shift)), true)
}

// readLocked reads chunk after chunk. It unlocks meanwhile.
func (d *Disk) readLocked(ctx context.Context, rq *request, p []byte, off int64) error {
	end := off + int64(len(p))
	for len(p) > 0 {
		c := off >> d.shift
		at := int(off - c<<d.shift)
		n := min(len(p), d.shape.ChunkLength(c)-at)
		if half := int64(horizon/2) >> d.shift; rq.planned <= (end-1)>>d.shift && c+half >= rq.planned {
			d.demandLocked(rq, max(c, rq.planned), end)
			d.submitLocked(rq)
		}
		if err := d.readChunkLocked(ctx, rq, part{chunk: c, at: at, dst: p[:n]}); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// part is bytes of one chunk, from at on, and where they are to go.
type part struct {
	chunk int64
	at    int
	dst   []byte
	again bool // the chunk was read before, so that it may be once more
}

// readChunkLocked fills a part, waiting for it if it must. It unlocks meanwhile.
func (d *Disk) readChunkLocked(ctx context.Context, rq *request, p part) error {
	for first := true; ; first = false {
		if r := rq.held; r != nil {
			if !r.has(p.chunk) {
				d.letGoLocked(rq)
			} else if done, err := d.endedLocked(rq, p); done || err != nil {
				return err
			}
		}
		if s := d.decoded.find(p.chunk); s != nil {
			if !s.filling {
				d.fromSlotLocked(s, p)
				d.stats.hit(first, &d.stats.DecodedHits)
				return nil
			}
			if err := d.sleepLocked(ctx, rq, &s.waiters); err != nil {
				return err
			}
			continue
		}
		if i := d.stored.find(p.chunk); i != nil {
			if again, err := d.fromStoredLocked(i, p, nil); !again {
				d.stats.hit(first, &d.stats.StoredHits)
				return err
			}
			continue
		}
		if r, ok := d.runs.get(objectKey(0, p.chunk)); ok {
			d.holdLocked(rq, r)
			if r.state == runReady {
				if again, err := d.fromRunLocked(r, p); !again {
					d.stats.hit(first, &d.stats.AheadHits)
					return err
				}
				continue
			}
			if err := d.sleepLocked(ctx, rq, &r.waiters); err != nil {
				return err
			}
			continue
		}
		if zero, _, _, known := d.index.span(p.chunk); known && zero {
			d.unlocked(func() { clear(p.dst) })
			d.stats.hit(first, &d.stats.ZeroHits)
			return nil
		}
		if err := d.askAgainLocked(ctx, rq, p); err != nil {
			return err
		}
	}
}

// askAgainLocked asks for a chunk that is neither there nor asked for: there was no room before, or it was evicted.
func (d *Disk) askAgainLocked(ctx context.Context, rq *request, p part) error {
	if d.room.empty() && d.planLocked(rq, p.chunk, p.chunk+1, true) > p.chunk {
		d.submitLocked(rq)
		return nil
	}
	d.letGoLocked(rq) // who waits for room must not take any
	if err := d.sleepLocked(ctx, rq, &d.room); err != nil {
		return err
	}
	if d.planLocked(rq, p.chunk, p.chunk+1, true) > p.chunk {
		d.roomLocked()
	}
	d.submitLocked(rq)
	return nil
}

// endedLocked looks whether the run that a request waited for has ended without bytes.
func (d *Disk) endedLocked(rq *request, p part) (done bool, err error) {
	r := rq.held
	switch r.state {
	case runZero:
		clear(p.dst)
		d.stats.Misses++
		return true, nil
	case runFailed:
		f := r.fail
		split := f.level == 0 && r.count > 1 && errors.Is(f.err, engine.ErrNoGoodCopy)
		d.letGoLocked(rq)
		if !split {
			return false, d.readError(&f)
		}
	}
	return false, nil
}

// holdLocked makes rq hold a run, and no other.
func (d *Disk) holdLocked(rq *request, r *run) {
	if rq.held == r {
		return
	}
	d.letGoLocked(rq)
	r.refs++
	rq.held = r
}

func (d *Disk) letGoLocked(rq *request) {
	if r := rq.held; r != nil {
		rq.held = nil
		d.dropLocked(r)
	}
}

// sleepLocked waits for list to be woken, without the lock.
func (d *Disk) sleepLocked(ctx context.Context, rq *request, list *waitList) error {
	err := d.waitLocked(ctx, rq, list)
	d.mu.Lock()
	return err
}

func (d *Disk) unlocked(f func()) {
	d.mu.Unlock()
	f()
	d.mu.Lock()
}

// fromSlotLocked copies from a decoded chunk.
func (d *Disk) fromSlotLocked(s *slot, p part) {
	d.decoded.pin(s)
	if s.ahead {
		s.ahead = false
		d.usedLocked(s.chunk)
	}
	d.mu.Unlock()
	copy(p.dst, s.data[p.at:])
	s.unpin()
	d.mu.Lock()
}

// fromStoredLocked reads from the cache of stored chunks. again is true when the cached bytes have changed in memory; they
// are forgotten then. dec may be nil; else it is given back.
func (d *Disk) fromStoredLocked(i *item, p part, dec *tree.Decoder) (again bool, err error) {
	seg := d.stored.pin(i)
	if i.ahead {
		d.usedLocked(p.chunk)
	} else {
		p.again = true
	}
	err = d.unpackLocked(p, i.entry, i.stored(), true, dec)
	seg.unpin()
	if errors.Is(err, tree.ErrMismatch) {
		d.stored.forget(i)
		d.stats.Damaged++
		return true, nil
	}
	return false, d.chunkError(p.chunk, err)
}

// fromRunLocked reads from a ready run that the caller holds. again is true when the run turned out broken.
func (d *Disk) fromRunLocked(r *run, p part) (again bool, err error) {
	i := int(p.chunk - r.first)
	if r.ahead && r.touched>>i&1 == 0 {
		r.touched |= 1 << i
		d.stats.AheadUsed += uint64(d.shape.ChunkLength(p.chunk))
	}
	r.users++
	err = d.unpackLocked(p, r.entry(i), r.stored(i), r.good>>i&1 == 1, nil)
	r.users--
	d.judgeLocked(r, i, err)
	if errors.Is(err, tree.ErrMismatch) {
		return true, nil
	}
	return false, d.chunkError(p.chunk, err)
}

func (d *Disk) chunkError(chunk int64, err error) error {
	if err == nil {
		return nil
	}
	return d.readError(&failure{index: chunk, err: err})
}

// judgeLocked notes what came out when somebody looked at chunk i of a run.
func (d *Disk) judgeLocked(r *run, i int, err error) {
	if !errors.Is(err, tree.ErrMismatch) {
		r.good |= 1 << i
	}
	if errors.Is(err, tree.ErrMismatch) || r.state == runBroken {
		d.breakLocked(r, r.first+int64(i))
	}
}

// unpackLocked fills a part from the stored bytes of its chunk, which it checks unless they are verified. A chunk that is
// read in part or again is decoded into the cache, one that is read whole for the first time directly to where it goes.
// It unlocks meanwhile. dec may be nil; else it is given back.
func (d *Disk) unpackLocked(p part, e tree.Entry, src []byte, verified bool, dec *tree.Decoder) (err error) {
	length := d.shape.ChunkLength(p.chunk)
	var s *slot
	var scratch *buffer
	if whole := len(p.dst) == length; e.Kind != tree.Raw && e.Kind != tree.Zero && (!whole || p.again) {
		if s = d.decoded.reserve(p.chunk); s == nil && !whole {
			scratch = d.buffers.take(length)
		}
	}
	d.mu.Unlock()
	switch {
	case e.Kind == tree.Zero:
		clear(p.dst)
	case e.Kind == tree.Raw:
		if verified || tree.Verify(e, src) {
			copy(p.dst, src[p.at:])
		} else {
			err = tree.ErrMismatch
		}
	case s != nil:
		if err = d.decode(dec, s.data[:length], e, src); err == nil {
			copy(p.dst, s.data[p.at:])
		}
	case scratch != nil:
		if err = d.decode(dec, scratch.bytes[:length], e, src); err == nil {
			copy(p.dst, scratch.bytes[p.at:])
		}
	default:
		err = d.decode(dec, p.dst, e, src)
	}
	d.mu.Lock()
	d.buffers.give(scratch)
	if s != nil {
		d.decoded.settle(s, err == nil)
	}
	return err
}

// decode verifies and decodes with dec, or with a decoder of the pool, and gives it back.
func (d *Disk) decode(dec *tree.Decoder, dst []byte, e tree.Entry, src []byte) error {
	if dec == nil {
		dec = d.decoders.get()
	}
	err := dec.Decode(dst, e, src)
	d.decoders.put(dec)
	return err
}
