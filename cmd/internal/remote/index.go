package remote

import "github.com/spate-project/spate/vdisk/tree"

// fanoutShift: a page of level l covers 2^(fanoutShift*l) chunks.
const fanoutShift = 6

// pageCharge is what one page costs in memory, in bytes.
const pageCharge = tree.Fanout*40 + 128

// page is a verified index page. Its entries do not change while it is cached or used.
type page struct {
	list    links[*page]
	level   int
	index   int64
	entries []tree.Entry
	zero    uint64 // which entries are zero
	users   int    // runs that hold it; guarded by the disk's lock
	cached  bool
}

func (p *page) links() *links[*page] { return &p.list }

// index is the cache of verified pages, least recently used last. The disk's lock guards it.
type index struct {
	shape   tree.Shape
	levels  int
	limit   int
	byPlace table[*page]
	recent  list[*page]
	free    *page // linked by list.next
}

func (x *index) open(shape tree.Shape, bytes int64) {
	x.shape, x.levels = shape, shape.Levels()
	x.limit = int(max(minPages, bytes/pageCharge))
}

func (x *index) get(level int, i int64) *page {
	p, _ := x.byPlace.get(objectKey(level, i))
	return p
}

// nearest gives the lowest page that is known of those above a chunk, or nil.
func (x *index) nearest(chunk int64) *page {
	for level := 1; level <= x.levels; level++ {
		if p := x.get(level, chunk>>(fanoutShift*level)); p != nil {
			x.recent.toFront(p)
			return p
		}
	}
	return nil
}

// span tells of the chunks from one on whether they are all zero or all not, and up to which that holds. known is false
// when the index does not reach so far; leaf is nil where zeros are known from higher up.
func (x *index) span(chunk int64) (zero bool, until int64, leaf *page, known bool) {
	p := x.nearest(chunk)
	if p == nil {
		return false, 0, nil, false
	}
	shift := fanoutShift * (p.level - 1)
	first := p.index << fanoutShift
	at := int(chunk>>shift - first)
	zero = p.zero>>at&1 == 1
	if p.level > 1 && !zero {
		return false, 0, nil, false
	}
	end := at + 1
	for end < len(p.entries) && (p.zero>>end&1 == 1) == zero {
		end++
	}
	until = min((first+int64(end))<<shift, x.shape.Chunks())
	if p.level == 1 {
		leaf = p
	}
	return zero, until, leaf, true
}

// entry gives the entry of object (level, i) if the page above it is known.
func (x *index) entry(level int, i int64) (e tree.Entry, ok bool) {
	p := x.get(level+1, i>>fanoutShift)
	if p == nil {
		return e, false
	}
	return p.entries[i&(tree.Fanout-1)], true
}

// blank gives a page to be filled and added.
func (x *index) blank(level int, i int64) *page {
	p := x.free
	if p == nil {
		p = &page{entries: make([]tree.Entry, 0, tree.Fanout)}
	} else {
		x.free, p.list.next = p.list.next, nil
	}
	p.level, p.index, p.zero, p.entries = level, i, 0, p.entries[:0]
	return p
}

// recycle takes back a page that is neither cached nor used.
func (x *index) recycle(p *page) {
	p.list.next = x.free
	x.free = p
}

// add puts in a page whose entries are verified, and evicts another where there are too many.
func (x *index) add(p *page) {
	for i := range p.entries {
		if p.entries[i].Kind == tree.Zero {
			p.zero |= 1 << i
		}
	}
	if x.recent.n >= x.limit {
		old := x.recent.last
		x.recent.remove(old)
		x.byPlace.del(objectKey(old.level, old.index))
		old.cached = false
		if old.users == 0 {
			x.recycle(old)
		}
	}
	p.cached = true
	x.recent.pushFront(p)
	x.byPlace.put(objectKey(p.level, p.index), p)
}

func (x *index) use(p *page) { p.users++ }

func (x *index) drop(p *page) {
	if p.users--; p.users == 0 && !p.cached {
		x.recycle(p)
	}
}
