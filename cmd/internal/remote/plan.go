package remote

import (
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/vdisk/tree"
)

// allowedLocked tells whether another run and pages page reads may be made. Read-ahead leaves a part of the room free.
func (d *Disk) allowedLocked(pages int, demand bool) bool {
	part := 1
	if !demand {
		if part = aheadPart; !d.room.empty() {
			return false
		}
	}
	return d.liveRuns < maxRuns/part && d.livePage+pages <= maxPageReads/part &&
		(d.flight < d.options.FlightBytes/int64(part) || d.liveRuns == 0)
}

// planLocked makes fetches for what is neither there nor asked for of the chunks [from, to), in rq, and urges what is
// read-ahead if it is demand now. It returns the chunk behind the last that was looked at: less than to when room or rq
// is full.
func (d *Disk) planLocked(rq *request, from, to int64, demand bool) int64 {
	for c := from; c < to; {
		if d.presentLocked(rq, c, demand) {
			c++
			continue
		}
		zero, until, leaf, known := d.index.span(c)
		if known && zero {
			c = until
			continue
		}
		if len(rq.list)+d.index.levels+1 > cap(rq.list) {
			return c
		}
		count := d.lengthLocked(c, to, leaf)
		if known {
			if !d.allowedLocked(0, demand) {
				return c
			}
			d.addRunLocked(rq, c, count, leaf, demand)
		} else {
			if !d.allowedLocked(d.missingLocked(c), demand) {
				return c
			}
			p := d.askPagesLocked(rq, c, demand)
			d.waitForLocked(d.addRunLocked(rq, c, count, nil, demand), p)
		}
		c += int64(count)
	}
	return to
}

// presentLocked tells whether a chunk is cached or asked for.
func (d *Disk) presentLocked(rq *request, c int64, demand bool) bool {
	if r, ok := d.runs.get(objectKey(0, c)); ok {
		if demand {
			d.urgeLocked(rq, r)
		}
		return true
	}
	return d.decoded.find(c) != nil || d.stored.find(c) != nil
}

// lengthLocked is how many chunks from c on one run shall have: no more than up to to, inside one leaf page, without any
// that is there already or asked for, and without zeros at its end.
func (d *Disk) lengthLocked(c, to int64, leaf *page) int {
	most := min(to-c, tree.Fanout-c&(tree.Fanout-1), d.perRun)
	if len(d.singly) > 0 {
		if _, ok := d.singly[c>>fanoutShift]; ok {
			return 1
		}
	}
	n, keep := 1, 1
	for int64(n) < most {
		k := objectKey(0, c+int64(n))
		if _, ok := d.runs.find(k); ok || d.decoded.find(c+int64(n)) != nil || d.stored.find(c+int64(n)) != nil {
			break
		}
		n++
		if leaf == nil || leaf.zero>>(c&(tree.Fanout-1)+int64(n)-1)&1 == 0 {
			keep = n
		}
	}
	return keep
}

func (d *Disk) addRunLocked(rq *request, c int64, count int, leaf *page, demand bool) *run {
	r := d.newRunLocked(c, count, leaf, demand)
	d.tableLocked(r)
	rq.list = append(rq.list, &r.fetch)
	rq.runs = append(rq.runs, r)
	return r
}

// waitForLocked makes a run wait for the page that describes it.
func (d *Disk) waitForLocked(r *run, p *pageRead) {
	r.held, p.runs = p.runs, r
	r.refs++
}

// missingLocked is how many pages above a chunk are neither known nor asked for.
func (d *Disk) missingLocked(c int64) (n int) {
	for level := 1; level <= d.index.levels; level++ {
		i := c >> (fanoutShift * level)
		if d.index.get(level, i) != nil {
			break
		}
		if _, ok := d.reads.get(objectKey(level, i)); !ok {
			n++
		}
	}
	return n
}

// askPagesLocked asks for all pages above a chunk that are not known, the upper ones first, and gives the read of the
// leaf page, which must be unknown.
func (d *Disk) askPagesLocked(rq *request, c int64, demand bool) (leaf *pageRead) {
	top := 1
	for top < d.index.levels && d.index.get(top+1, c>>(fanoutShift*(top+1))) == nil {
		top++
	}
	for level := top; level >= 1; level-- {
		i := c >> (fanoutShift * level)
		p, ok := d.reads.get(objectKey(level, i))
		if !ok {
			p = d.newReadLocked(level, i, demand)
			rq.list = append(rq.list, &p.fetch)
			rq.reads = append(rq.reads, p)
		} else if demand {
			d.urgeReadLocked(rq, p)
		}
		leaf = p
	}
	return leaf
}

// urgeLocked makes demand of a run, and of the pages it waits for.
func (d *Disk) urgeLocked(rq *request, r *run) {
	if r.demand || len(rq.urges)+d.index.levels+1 > cap(rq.urges) {
		return
	}
	r.demand = true
	switch {
	case r.state != runAsked && r.state != runHeld:
	case !r.sent:
		r.urge = true
	default:
		r.refs++
		rq.runs = append(rq.runs, r)
		rq.urges = append(rq.urges, &r.fetch)
	}
	if r.leaf != nil {
		return
	}
	for level := 1; level <= d.index.levels; level++ {
		if p, ok := d.reads.get(objectKey(level, r.first>>(fanoutShift*level))); ok {
			d.urgeReadLocked(rq, p)
		}
	}
}

func (d *Disk) urgeReadLocked(rq *request, p *pageRead) {
	if p.demand || len(rq.urges) == cap(rq.urges) {
		return
	}
	p.demand = true
	if !p.sent {
		p.urge = true
		return
	}
	p.refs++
	rq.reads = append(rq.reads, p)
	rq.urges = append(rq.urges, &p.fetch)
}

// submitLocked hands in what rq has collected. It unlocks meanwhile.
func (d *Disk) submitLocked(rq *request) {
	if len(rq.list) > 0 {
		d.mu.Unlock()
		taken, err := d.fetcher.Fetch(rq.list...)
		d.mu.Lock()
		if err != nil {
			d.refusedLocked(rq, rq.list[taken:], err)
		}
		rq.list = rq.list[:0]
	}
	for _, r := range rq.runs {
		if r.sent = true; r.urge {
			r.urge = false
			rq.urges = append(rq.urges, &r.fetch)
		}
	}
	for _, p := range rq.reads {
		if p.sent = true; p.urge {
			p.urge = false
			rq.urges = append(rq.urges, &p.fetch)
		}
	}
	if len(rq.urges) > 0 {
		d.mu.Unlock()
		for _, f := range rq.urges {
			d.fetcher.Urge(f)
		}
		d.mu.Lock()
	}
	for _, r := range rq.runs {
		d.dropLocked(r)
	}
	for _, p := range rq.reads {
		d.dropReadLocked(p)
	}
	rq.runs, rq.reads, rq.urges = rq.runs[:0], rq.reads[:0], rq.urges[:0]
}

// refusedLocked ends fetches that the network did not take.
func (d *Disk) refusedLocked(rq *request, list []*engine.Fetch, err error) {
	for _, f := range list {
		switch o := f.Owner.(type) {
		case *run:
			if o.state == runAsked {
				d.failRunLocked(o, failure{index: o.first, err: err})
			}
			d.dropLocked(o)
		case *pageRead:
			if o.state == readAsked {
				d.failReadLocked(o, failure{level: uint8(o.level), index: o.index, err: err})
			}
			d.dropReadLocked(o)
		}
	}
}
