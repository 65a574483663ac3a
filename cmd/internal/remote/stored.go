package remote

import (
	"sync/atomic"

	"github.com/spate-project/spate/vdisk/tree"
)

// segment is a part of the cache of stored chunks that is filled from its start and evicted as a whole. The disk's lock
// guards it; bytes that are filled do not change while there are pins.
type segment struct {
	list  links[*segment]
	bytes []byte
	used  int
	items []*item      // capacity fixed: the most that it may hold
	taken int          // items promised to reservations
	pins  atomic.Int32 // taken under the lock, given back without it
}

func (s *segment) links() *links[*segment] { return &s.list }

func (s *segment) unpin() { s.pins.Add(-1) }

// item is one chunk's stored bytes in a segment, which have the hash of the entry.
type item struct {
	entry tree.Entry
	chunk int64
	seg   *segment
	off   int
	ahead bool // came by read-ahead, and nobody has read it yet
	next  *item
}

func (i *item) stored() []byte { return i.seg.bytes[i.off : i.off+int(i.entry.Length)] }

// stored is the cache of verified stored chunks, in segments, the one that was least recently read last. A chunk is put
// in contiguously and without memory of its own, and eviction gives back whole segments: no fragments, constant time.
type stored struct {
	memory   memory
	segments []segment
	unused   list[*segment]
	recent   list[*segment]
	open     *segment // is being filled; stands in recent
	byChunk  table[*item]
	free     *item       // those that were used and are not
	fresh    []item      // those that were never used: memory that nobody has touched
	evicted  func(*item) // told what goes
}

func (c *stored) init(bytes int64, chunk int, evicted func(*item)) error {
	size := max(segmentSize, chunk)
	n := max(minCacheSegments, int(bytes/int64(size)))
	m, err := newMemory(int64(n) * int64(size))
	if err != nil {
		return err
	}
	most := size / max(leastCharge, chunk/8)
	c.memory, c.segments, c.evicted = m, make([]segment, n), evicted
	c.fresh = make([]item, n*most)
	places := make([]*item, n*most)
	for i := range c.segments {
		s := &c.segments[i]
		s.bytes = m.bytes[i*size : (i+1)*size : (i+1)*size]
		s.items = places[i*most : i*most : (i+1)*most]
		c.unused.pushBack(s)
	}
	c.byChunk.reserve(len(c.fresh))
	return nil
}

// find gives what is cached of a chunk, or nil.
func (c *stored) find(chunk int64) *item {
	i, _ := c.byChunk.get(objectKey(0, chunk))
	return i
}

// pin keeps an item's bytes until its segment is unpinned, and makes the segment the most recently read.
func (c *stored) pin(i *item) *segment {
	i.seg.pins.Add(1)
	c.recent.toFront(i.seg)
	return i.seg
}

// reserve gives room for one chunk of n bytes: a pinned segment and where in it. The segment is nil when everything is
// in use.
func (c *stored) reserve(n int) (s *segment, off int) {
	s = c.open
	if s == nil || s.used+n > len(s.bytes) || s.taken == cap(s.items) {
		if s = c.renew(); s == nil {
			return nil, 0
		}
		c.open = s
	}
	off = s.used
	s.used += n
	s.taken++
	s.pins.Add(1)
	return s, off
}

// renew gives an empty segment, evicting the one that was least recently read.
func (c *stored) renew() *segment {
	s := c.unused.popFront()
	if s == nil {
		s = c.recent.last
		for n := 0; s != nil && (s.pins.Load() > 0 || s == c.open); n++ {
			if n == evictScan {
				return nil
			}
			s = s.list.prev
		}
		if s == nil {
			return nil
		}
		c.empty(s)
	}
	c.recent.pushFront(s)
	return s
}

func (c *stored) empty(s *segment) {
	c.recent.remove(s)
	for i, e := range s.items {
		if e.chunk >= 0 {
			c.evicted(e)
			c.byChunk.del(objectKey(0, e.chunk))
		}
		e.next, c.free = c.free, e
		s.items[i] = nil
	}
	s.items, s.used, s.taken = s.items[:0], 0, 0
}

// publish makes a chunk that was copied into a reservation readable. The caller still has to unpin the segment.
func (c *stored) publish(s *segment, off int, chunk int64, e tree.Entry, ahead bool) {
	if c.find(chunk) != nil {
		return // somebody else was faster; the room is lost until the segment is evicted
	}
	i := c.free
	if i == nil {
		i, c.fresh = &c.fresh[0], c.fresh[1:]
	} else {
		c.free = i.next
	}
	*i = item{entry: e, chunk: chunk, seg: s, off: off, ahead: ahead}
	s.items = append(s.items, i)
	c.byChunk.put(objectKey(0, chunk), i)
}

// forget makes an item unreadable; its room is lost until the segment is evicted.
func (c *stored) forget(i *item) {
	if i.chunk >= 0 {
		c.byChunk.del(objectKey(0, i.chunk))
		i.chunk = -1
	}
}

func (c *stored) bytes() (n int64) {
	for s := c.recent.first; s != nil; s = s.list.next {
		n += int64(s.used)
	}
	return n
}
