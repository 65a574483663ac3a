package remote

import (
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/vdisk/tree"
)

// readState is how far a page read is.
type readState uint8

const (
	readAsked  readState = iota // the network has it
	readHeld                    // the bytes are there, the page above is not
	readBroken                  // is not what the page above says; goes back to the network
	readEnded                   // verified, or known to be zero: the index has it
	readFailed                  // see failure
)

// pageRead is the fetch of one index page. The disk's lock guards it, except that the network has fetch and buf while it
// is asked. References to it are held by the network, by the queue of rejects, by requests, and by the table of page reads
// until it has ended.
type pageRead struct {
	list    links[*pageRead] // in the queue of rejects
	disk    *Disk
	fetch   engine.Fetch
	buf     [tree.MaxPage]byte
	level   int
	index   int64
	sum     tree.Hash // of the bytes; of the top page the root that it makes
	entry   tree.Entry
	known   bool // entry is
	state   readState
	demand  bool
	sent    bool
	urge    bool
	refs    int
	rejects int
	fail    failure
	waiters waitList
	runs    *run // that wait for it, linked by held
	free    *pageRead
}

func (p *pageRead) links() *links[*pageRead] { return &p.list }

func (p *pageRead) key() key { return objectKey(p.level, p.index) }

// Fetched takes the answer from the network. It hashes it at once, which costs less than telling somebody.
func (p *pageRead) Fetched(f *engine.Fetch) {
	d := p.disk
	if f.Total < 0 || f.Total > len(f.Buf) {
		f.Total = 0 // which no page has
	}
	if f.Err == nil {
		b := p.buf[:f.Total]
		if p.level == d.index.levels {
			p.sum = d.shape.Root(b, d.disk.Boot)
		} else {
			p.sum = tree.Sum(b)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case p.state != readAsked:
	case f.Err != nil:
		d.failReadLocked(p, failure{level: uint8(p.level), index: p.index, err: f.Err})
	default:
		d.stats.IndexBytes += uint64(f.Total)
		p.state = readHeld
		if p.known {
			d.settleLocked(p)
		}
	}
	d.dropReadLocked(p)
}

// newReadLocked makes a page read with references for the network, the table and the caller. What the page above says of it
// is filled in if it is known.
func (d *Disk) newReadLocked(level int, i int64, demand bool) *pageRead {
	p := d.freeReads
	if p == nil {
		p = &pageRead{disk: d}
		p.fetch.Owner = p
	} else {
		d.freeReads, p.free = p.free, nil
	}
	p.level, p.index, p.demand = level, i, demand
	p.state, p.sent, p.urge, p.refs, p.rejects, p.fail, p.runs = readAsked, false, false, 3, 0, failure{}, nil
	f := &p.fetch
	f.Level, f.First, f.Count, f.Demand = uint8(level), i, 1, demand
	f.Buf, f.Expect = p.buf[:d.shape.Entries(level, i)*tree.EntrySize], -1
	f.Total, f.Err = 0, nil
	if level == d.index.levels {
		p.known, f.Expect = true, len(f.Buf)
	} else if p.entry, p.known = d.index.entry(level, i); p.known {
		f.Expect = int(p.entry.Length)
	}
	d.reads.put(p.key(), p)
	d.livePage++
	d.stats.IndexFetches++
	return p
}

// settleLocked compares a page that is there with what is known of it.
func (d *Disk) settleLocked(p *pageRead) {
	top := p.level == d.index.levels
	stored := p.buf[:p.fetch.Total]
	switch {
	case top && p.sum == d.disk.Content.Root:
	case !top && p.entry.Kind == tree.Zero:
		d.zeroReadLocked(p)
		return
	case !top && len(stored) == int(p.entry.Length) && p.sum == p.entry.Hash:
	default:
		p.state = readBroken
		d.stats.Damaged++
		if !d.closing {
			p.refs++
			d.rejects.pushBack(p)
			d.wake.Signal()
		}
		return
	}
	pg := d.index.blank(p.level, p.index)
	var err error
	if pg.entries, err = tree.ParsePage(pg.entries, stored, d.shape, p.level, p.index); err != nil {
		// It has the right hash: the tree was made wrong, and no other server has a better one.
		d.index.recycle(pg)
		d.failReadLocked(p, failure{level: uint8(p.level), index: p.index, err: err})
		return
	}
	d.index.use(pg)
	d.index.add(pg)
	d.endReadLocked(p, readEnded)
	d.passDownLocked(p, pg)
	d.index.drop(pg)
	d.dropReadLocked(p)
}

// passDownLocked tells what waits below a page what the page says.
func (d *Disk) passDownLocked(p *pageRead, pg *page) {
	if p.level == 1 {
		d.eachHeldLocked(p, func(r *run) {
			d.describeLocked(r, pg)
			switch {
			case r.good == r.all():
				d.zeroRunLocked(r)
			case r.state == runHeld:
				d.readyLocked(r)
			}
		})
		return
	}
	if d.reads.n == 0 {
		return
	}
	for i := range pg.entries {
		child, ok := d.reads.get(objectKey(p.level-1, pg.index<<fanoutShift+int64(i)))
		if !ok || child.known {
			continue
		}
		child.entry, child.known = pg.entries[i], true
		switch {
		case child.entry.Kind == tree.Zero:
			d.zeroReadLocked(child)
		case child.state == readHeld:
			d.settleLocked(child)
		}
	}
}

// eachHeldLocked calls f for the runs that wait for a page and still need it, and lets go of all.
func (d *Disk) eachHeldLocked(p *pageRead, f func(*run)) {
	for r := p.runs; r != nil; {
		next := r.held
		r.held = nil
		if r.state == runAsked || r.state == runHeld {
			f(r)
		}
		d.dropLocked(r)
		r = next
	}
	p.runs = nil
}

// zeroReadLocked ends a page read below which everything is zero.
func (d *Disk) zeroReadLocked(p *pageRead) {
	d.endReadLocked(p, readEnded)
	d.eachHeldLocked(p, d.zeroRunLocked)
	d.belowLocked(p, d.zeroReadLocked)
	d.dropReadLocked(p)
}

// failReadLocked ends a page read with an error, and with it all that waits for what it would have said.
func (d *Disk) failReadLocked(p *pageRead, f failure) {
	if len(f.blame) == 0 {
		f.blame = p.fail.blame
	}
	p.fail = f
	d.endReadLocked(p, readFailed)
	d.eachHeldLocked(p, func(r *run) { d.failRunLocked(r, f) })
	d.belowLocked(p, func(child *pageRead) { d.failReadLocked(child, f) })
	d.dropReadLocked(p)
}

// belowLocked calls f for the page reads directly below p that wait for it.
func (d *Disk) belowLocked(p *pageRead, f func(*pageRead)) {
	if p.level == 1 {
		return
	}
	for i := range int64(d.shape.Entries(p.level, p.index)) {
		if child, ok := d.reads.get(objectKey(p.level-1, p.index<<fanoutShift+i)); ok && !child.known {
			f(child)
		}
	}
}

// endReadLocked takes a page read out of the table. The caller gives back the table's reference when it is done.
func (d *Disk) endReadLocked(p *pageRead, s readState) {
	p.state = s
	d.reads.del(p.key())
	p.waiters.wakeAll()
}

// rejectReadLocked gives a page that does not verify back to the network. It unlocks meanwhile.
func (d *Disk) rejectReadLocked(p *pageRead) {
	f := failure{level: uint8(p.level), index: p.index, blame: append(p.fail.blame, p.fetch.Servers...), err: engine.ErrNoGoodCopy}
	p.fail.blame = f.blame
	if p.rejects++; p.rejects > maxRejects {
		d.failReadLocked(p, f)
		return
	}
	p.state = readAsked
	p.refs++
	p.fetch.Expect = len(p.fetch.Buf)
	demand := p.demand
	d.mu.Unlock()
	err := d.fetcher.Reject(&p.fetch, uint8(p.level), p.index)
	if err == nil && demand {
		d.fetcher.Urge(&p.fetch)
	}
	d.mu.Lock()
	if err != nil {
		f.err = err
		d.failReadLocked(p, f)
		d.dropReadLocked(p)
	}
}

// dropReadLocked gives back one reference.
func (d *Disk) dropReadLocked(p *pageRead) {
	if p.refs--; p.refs > 0 {
		return
	}
	d.livePage--
	p.free, d.freeReads = d.freeReads, p
	d.roomLocked()
}
