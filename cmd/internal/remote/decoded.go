package remote

import "sync/atomic"

// slot is the place of one decoded chunk. Its fields are guarded by the disk's lock; data belongs to who fills it while
// filling is set, and is not changed while there are pins.
type slot struct {
	list    links[*slot]
	chunk   int64
	data    []byte
	pins    atomic.Int32 // taken under the lock, given back without it
	filling bool
	ahead   bool // was decoded before anybody asked
	waiters waitList
}

func (s *slot) links() *links[*slot] { return &s.list }

// decoded is the cache of decoded chunks, least recently used last. The disk's lock guards it.
type decoded struct {
	memory  memory
	slots   []slot
	unused  list[*slot]
	recent  list[*slot]
	byChunk table[*slot]
}

func (c *decoded) open(bytes int64, chunk int) error {
	n := max(minSlots, bytes/int64(chunk))
	m, err := newMemory(n * int64(chunk))
	if err != nil {
		return err
	}
	c.memory, c.slots = m, make([]slot, n)
	c.byChunk.reserve(int(n))
	for i := range c.slots {
		s := &c.slots[i]
		s.data = m.bytes[i*chunk : (i+1)*chunk : (i+1)*chunk]
		c.unused.pushBack(s)
	}
	return nil
}

// find gives the slot of a chunk, which may still be filling, or nil.
func (c *decoded) find(chunk int64) *slot {
	s, _ := c.byChunk.get(objectKey(0, chunk))
	return s
}

// reserve takes a slot for a chunk that has none, for the caller to fill and then to settle. It returns nil
// when all that could be evicted is in use.
func (c *decoded) reserve(chunk int64) *slot {
	s := c.unused.popFront()
	if s == nil {
		if s = c.victim(); s == nil {
			return nil
		}
		c.recent.remove(s)
		c.byChunk.del(objectKey(0, s.chunk))
	}
	s.chunk, s.filling, s.ahead = chunk, true, false
	c.recent.pushFront(s)
	c.byChunk.put(objectKey(0, chunk), s)
	return s
}

func (c *decoded) victim() *slot {
	s := c.recent.last
	for range evictScan {
		if s == nil || !s.filling && s.pins.Load() == 0 {
			return s
		}
		s = s.list.prev
	}
	return nil
}

// settle ends the filling of a slot: it is readable from now on, or empty when the chunk could not be decoded.
func (c *decoded) settle(s *slot, ok bool) {
	s.filling = false
	if !ok {
		c.recent.remove(s)
		c.byChunk.del(objectKey(0, s.chunk))
		c.unused.pushBack(s)
	}
	s.waiters.wakeAll()
}

// pin keeps a slot as it is until unpin, and makes it the most recently used.
func (c *decoded) pin(s *slot) {
	s.pins.Add(1)
	c.recent.toFront(s)
}

func (s *slot) unpin() { s.pins.Add(-1) }

func (c *decoded) bytes() int64 {
	if len(c.slots) == 0 {
		return 0
	}
	return int64(c.recent.n) * int64(len(c.slots[0].data))
}
