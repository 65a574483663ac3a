package stream

import (
	"context"
	"sync"
	"time"
)

// clock calls Tick of the sessions for which something is due. Those with reads
// in work are looked at every clockFast, all of them every clockSlow.
type clock struct {
	s    *Server
	wake chan struct{}
	mu   sync.Mutex
	fast []*entry // guarded by mu: sessions with reads in work
}

func newClock(s *Server) *clock { return &clock{s: s, wake: make(chan struct{}, 1)} }

// watch begins to look after a session.
func (c *clock) watch(e *entry) { c.hurry(e) }

// hurry puts a session with reads in work on the fast list.
func (c *clock) hurry(e *entry) {
	if e.waiting.Swap(true) {
		return
	}
	c.mu.Lock()
	c.fast = append(c.fast, e)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run ticks until ctx ends; Server.Run waits for it.
func (c *clock) run(ctx context.Context) {
	slow := time.NewTicker(clockSlow)
	defer slow.Stop()
	fast := time.NewTimer(clockSlow)
	defer fast.Stop()
	var list []*entry
	for {
		select {
		case <-ctx.Done():
			return
		case <-slow.C:
			list = c.s.table.all(list[:0])
			c.s.tickFront()
			c.tick(list)
			continue
		case <-c.wake:
		case <-fast.C:
		}
		c.mu.Lock()
		list = append(list[:0], c.fast...)
		c.fast = c.fast[:0]
		c.mu.Unlock()
		c.tick(list)
		if c.again(list) {
			fast.Reset(clockFast)
		}
		clear(list)
	}
}

func (c *clock) tick(list []*entry) {
	now := c.s.now()
	for _, e := range list {
		e.mu.Lock()
		if now >= e.session.Deadline() {
			e.session.Tick(now)
		}
		c.s.release(e, nil)
	}
}

// again keeps those sessions on the fast list for which something is due soon.
func (c *clock) again(list []*entry) bool {
	soon := c.s.now().Add(clockSlow)
	any := false
	for _, e := range list {
		e.mu.Lock()
		keep := e.session.Deadline() < soon
		e.mu.Unlock()
		e.waiting.Store(false)
		if keep {
			any = true
			if !e.waiting.Swap(true) {
				c.mu.Lock()
				c.fast = append(c.fast, e)
				c.mu.Unlock()
			}
		}
	}
	return any
}

func (s *Server) tickFront() {
	now := s.now()
	s.frontMu.Lock()
	if now >= s.front.Deadline() {
		s.front.Tick(now)
	}
	s.frontMu.Unlock()
}
