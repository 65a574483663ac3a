package vdisk

import (
	"sync"

	"github.com/spate-project/spate/vdisk/tree"
)

const (
	// cacheRecords bounds how many locator records of a version are held, about 1 KiB each: enough for each
	// group of a disk of 8 GiB in chunks of 16 KiB.
	cacheRecords = 8192
	cacheWays    = 4
)

// cache holds locator records that were read and checked. A record has its place in one set, so looking for
// one locks no more than that set.
type cache struct {
	sets []cacheSet
}

type cacheSet struct {
	mu sync.Mutex
	// slots and next are guarded by mu. Slots are made when first used and then used again.
	slots [cacheWays]*record
	next  uint8 // the slot that is replaced next
}

func newCache(s tree.Shape) *cache {
	pages := int64(0)
	for level := 1; level <= s.Levels(); level++ {
		pages += s.Count(level)
	}
	sets := 1
	for sets*cacheWays < cacheRecords && int64(sets*cacheWays) < 2*pages {
		sets *= 2
	}
	return &cache{sets: make([]cacheSet, sets)}
}

func (c *cache) set(level int, index int64) *cacheSet {
	// The number of sets is a power of two. Fibonacci hashing spreads neighbours and levels alike.
	h := (uint64(index) ^ uint64(level)<<56) * 0x9e3779b97f4a7c15
	return &c.sets[(h>>32)&uint64(len(c.sets)-1)]
}

// get copies the record of a page into r if it is there.
func (c *cache) get(r *record, level int, index int64) bool {
	s := c.set(level, index)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.slots {
		if have != nil && have.level == level && have.index == index {
			*r = *have
			return true
		}
	}
	return false
}

// put keeps a copy of r in place of another one.
func (c *cache) put(r *record) {
	s := c.set(r.level, r.index)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.slots {
		if have != nil && have.level == r.level && have.index == r.index {
			return // another reader was faster
		}
	}
	i := s.next % cacheWays
	s.next++
	if s.slots[i] == nil {
		s.slots[i] = new(record)
	}
	*s.slots[i] = *r
}

// forget drops the record of a page, so that what lies on the disk is seen again.
func (c *cache) forget(level int, index int64) {
	s := c.set(level, index)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, have := range s.slots {
		if have != nil && have.level == level && have.index == index {
			s.slots[i] = nil
		}
	}
}
