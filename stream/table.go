package stream

import (
	"sync"
	"sync/atomic"

	"github.com/spate-project/spate/stream/engine"
)

// entry is a session in the table, with what the shell needs to serve it.
type entry struct {
	mu        sync.Mutex // guards session, confirmed and leaving
	session   *engine.Session
	image     Image
	quick     QuickImage // image, or nil: it cannot be read without waiting
	pool      *pool
	out       *egress
	confirmed bool        // the admitter has been told
	waiting   atomic.Bool // stands in the clock's list
	leaving   *drain      // that has asked it to move, nil when it may stay
}

// table finds sessions by index. The zero value is not ready; see newTable.
type table struct {
	shards [sessionShards]struct {
		mu      sync.RWMutex
		entries map[uint32]*entry // guarded by mu
	}
	count atomic.Int64
}

func newTable() *table {
	t := &table{}
	for i := range t.shards {
		t.shards[i].entries = make(map[uint32]*entry)
	}
	return t
}

func (t *table) find(index uint32) *entry {
	s := &t.shards[index%sessionShards]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[index]
}

// reserve claims a free index, drawn by draw, with an entry that has no session
// yet. It is false when the table is full.
func (t *table) reserve(draw func() uint32) (uint32, bool) {
	if t.count.Load() >= MaxSessions {
		return 0, false
	}
	for {
		index := draw()
		if index == 0 {
			continue
		}
		s := &t.shards[index%sessionShards]
		s.mu.Lock()
		_, taken := s.entries[index]
		if !taken {
			s.entries[index] = nil
		}
		s.mu.Unlock()
		if !taken {
			t.count.Add(1)
			return index, true
		}
	}
}

// put stores the entry of a reserved index.
func (t *table) put(index uint32, e *entry) {
	s := &t.shards[index%sessionShards]
	s.mu.Lock()
	s.entries[index] = e
	s.mu.Unlock()
}

// drop frees an index.
func (t *table) drop(index uint32) {
	s := &t.shards[index%sessionShards]
	s.mu.Lock()
	if _, ok := s.entries[index]; ok {
		delete(s.entries, index)
		t.count.Add(-1)
	}
	s.mu.Unlock()
}

// all appends every entry to dst.
func (t *table) all(dst []*entry) []*entry {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for _, e := range s.entries {
			if e != nil {
				dst = append(dst, e)
			}
		}
		s.mu.RUnlock()
	}
	return dst
}
