package remote

import (
	"errors"

	"github.com/spate-project/spate/vdisk/tree"
)

// work is one worker: it verifies and decodes what comes when nobody waits for it, gives back what does not verify, and
// asks for read-ahead that a read could not ask for.
func (d *Disk) work() {
	defer d.workers.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	rq := newRequest()
	for !d.closing {
		switch {
		case d.rejects.n > 0:
			p := d.rejects.popFront()
			if p.state == readBroken {
				d.rejectReadLocked(p)
			}
			d.dropReadLocked(p)
		case d.queue.n > 0:
			r := d.queue.popFront()
			r.queued = false
			d.workOnLocked(r)
			d.dropLocked(r)
		case d.ahead.due:
			d.extendLocked(rq)
			d.submitLocked(rq)
		default:
			d.resting++
			d.wake.Wait()
			d.resting--
		}
	}
}

func (d *Disk) workOnLocked(r *run) {
	switch {
	case r.state == runBroken && r.users == 0:
		d.rejectLocked(r)
	case r.state != runReady:
	case r.private:
		if r.refs > 1 { // else its Stream has ended
			d.unpackRunLocked(r)
		}
	default:
		d.verifyLocked(r)
	}
}

// verifyLocked verifies the chunks of a run, and decodes them because somebody is likely to read them soon. It begins at
// the end when somebody else began at the start.
func (d *Disk) verifyLocked(r *run) {
	r.users++
	for n := 0; n < r.count && r.state == runReady && !d.closing; n++ {
		i := n
		if !r.ahead {
			i = r.count - 1 - n
		}
		if r.good>>i&1 == 1 {
			continue
		}
		d.judgeLocked(r, i, d.verifyChunkLocked(r, i))
	}
	r.users--
	if r.state == runBroken {
		d.breakLocked(r, r.bad)
	}
}

func (d *Disk) verifyChunkLocked(r *run, i int) (err error) {
	chunk, e, src := r.first+int64(i), r.entry(i), r.stored(i)
	var s *slot
	if e.Kind != tree.Raw && d.decoded.find(chunk) == nil {
		if s = d.decoded.reserve(chunk); s != nil {
			s.ahead = r.ahead && r.touched>>i&1 == 0
		}
	}
	d.mu.Unlock()
	if s != nil {
		err = d.decode(nil, s.data[:d.shape.ChunkLength(chunk)], e, src)
	} else if !tree.Verify(e, src) {
		err = tree.ErrMismatch
	}
	d.mu.Lock()
	if s != nil {
		d.decoded.settle(s, err == nil)
	}
	return err
}

// unpackRunLocked verifies and decodes a private run as a whole, unless somebody else is at it. It unlocks meanwhile.
func (d *Disk) unpackRunLocked(r *run) {
	if r.users > 0 || r.state != runReady {
		return
	}
	r.users = 1
	plain := true
	for i := range r.count {
		plain = plain && r.entry(i).Kind == tree.Raw
	}
	if !plain {
		r.out = d.buffers.take(int(r.logical))
	}
	d.mu.Unlock()
	bad, err := d.unpackRun(r)
	d.mu.Lock()
	r.users = 0
	switch {
	case err == nil:
		r.state = runDone
	case errors.Is(err, tree.ErrMismatch):
		d.buffers.give(r.out)
		r.out = nil
		d.breakLocked(r, bad)
		return
	default:
		d.failRunLocked(r, failure{index: bad, err: err})
	}
	r.waiters.wakeAll()
}

func (d *Disk) unpackRun(r *run) (bad int64, err error) {
	if r.out == nil { // raw chunks only: they stay where they are
		for i := range r.count {
			if !tree.Verify(r.entry(i), r.stored(i)) {
				return r.first + int64(i), tree.ErrMismatch
			}
		}
		return 0, nil
	}
	dec := d.decoders.get()
	defer d.decoders.put(dec)
	at := 0
	for i := range r.count {
		n := d.shape.ChunkLength(r.first + int64(i))
		if err := dec.Decode(r.out.bytes[at:at+n], r.entry(i), r.stored(i)); err != nil {
			return r.first + int64(i), err
		}
		at += n
	}
	return 0, nil
}
