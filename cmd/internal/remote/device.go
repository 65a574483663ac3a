package remote

import (
	"context"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/vdisk/tree"
)

// TryReadAt implements blockdev.TryReader: it answers from the caches, and decodes at most a little.
func (d *Disk) TryReadAt(p []byte, off int64) bool {
	if len(p) == 0 || blockdev.CheckRange(off, int64(len(p)), d.shape.Size) != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		return false
	}
	d.ahead.note(off, int64(len(p)))
	if !d.cheapLocked(off, int64(len(p))) {
		return false
	}
	d.active++ // the caches stay until it is done
	n, ok := uint64(len(p)), true
	for len(p) > 0 && ok {
		c := off >> d.shift
		at := int(off - c<<d.shift)
		m := min(len(p), d.shape.ChunkLength(c)-at)
		ok = d.tryChunkLocked(part{chunk: c, at: at, dst: p[:m]})
		p, off = p[m:], off+int64(m)
	}
	if ok {
		d.stats.Reads++
		d.stats.ReadBytes += n
		if d.ahead.due {
			d.wake.Signal() // else the ReadAt that follows asks for it
		}
	}
	if d.active--; d.active == 0 && d.closing {
		close(d.idle)
	}
	return ok
}

// cheapLocked tells whether all chunks of a read are cached, and little is to be decoded.
func (d *Disk) cheapLocked(off, n int64) bool {
	decode := 0
	for c := off >> d.shift; c<<d.shift < off+n; c++ {
		if s := d.decoded.find(c); s != nil {
			if s.filling {
				return false
			}
		} else if i := d.stored.find(c); i != nil {
			if i.entry.Kind != tree.Raw {
				if decode += d.shape.ChunkLength(c); decode > cheapDecode {
					return false
				}
			}
		} else if zero, _, _, known := d.index.span(c); !known || !zero {
			return false
		}
	}
	return true
}

func (d *Disk) tryChunkLocked(p part) bool {
	if s := d.decoded.find(p.chunk); s != nil {
		if s.filling {
			return false
		}
		d.fromSlotLocked(s, p)
		d.stats.DecodedHits++
		return true
	}
	if i := d.stored.find(p.chunk); i != nil {
		var dec *tree.Decoder
		if i.entry.Kind != tree.Raw {
			if dec = d.decoders.tryGet(); dec == nil {
				return false
			}
		}
		again, err := d.fromStoredLocked(i, p, dec)
		if again || err != nil {
			return false
		}
		d.stats.StoredHits++
		return true
	}
	if zero, _, _, known := d.index.span(p.chunk); !known || !zero {
		return false
	}
	clear(p.dst)
	d.stats.ZeroHits++
	return true
}

// Extent implements blockdev.Mapper. It fetches index pages, no chunks.
func (d *Disk) Extent(ctx context.Context, off, length int64) (n int64, zero bool, err error) {
	if err := blockdev.CheckRange(off, length, d.shape.Size); err != nil || length == 0 {
		return 0, false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rq, err := d.enterLocked()
	if err != nil {
		return 0, false, err
	}
	defer d.leaveLocked(rq)
	for c := off >> d.shift; n < length; {
		z, until, _, known := d.index.span(c)
		switch {
		case !known && n > 0:
			return n, zero, nil
		case !known:
			if err := d.learnLocked(ctx, rq, c); err != nil {
				return 0, false, err
			}
		case n > 0 && z != zero:
			return n, zero, nil
		default:
			zero, c = z, until
			n = min(until<<d.shift-off, length)
		}
	}
	return n, zero, nil
}

// learnLocked waits for the leaf page above a chunk, and asks for some that follow.
func (d *Disk) learnLocked(ctx context.Context, rq *request, c int64) error {
	if d.livePage+d.missingLocked(c) > maxPageReads {
		return d.sleepLocked(ctx, rq, &d.room)
	}
	p := d.askPagesLocked(rq, c, true)
	p.refs++
	d.roomLocked() // for who else waits
	for range pagesAhead {
		if c = (c>>fanoutShift + 1) << fanoutShift; c >= d.chunks {
			break
		}
		if _, _, _, known := d.index.span(c); !known && d.livePage+d.missingLocked(c) <= maxPageReads/aheadPart {
			d.askPagesLocked(rq, c, false)
		}
	}
	d.submitLocked(rq)
	defer d.dropReadLocked(p)
	if p.state != readEnded && p.state != readFailed {
		if err := d.sleepLocked(ctx, rq, &p.waiters); err != nil {
			return err
		}
	}
	if p.state == readFailed {
		d.stats.Errors++
		return d.readError(&p.fail)
	}
	return nil
}

// Prefetch implements blockdev.Prefetcher: it asks for what there is room for, and does not wait.
func (d *Disk) Prefetch(_ context.Context, off, length int64) error {
	if err := blockdev.CheckRange(off, length, d.shape.Size); err != nil || length == 0 {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rq, err := d.enterLocked()
	if err != nil {
		return err
	}
	defer d.leaveLocked(rq)
	last := (off+length-1)>>d.shift + 1
	for c := off >> d.shift; c < last; {
		next := d.planLocked(rq, c, last, false)
		d.submitLocked(rq)
		if next == c {
			break
		}
		c = next
	}
	return nil
}
