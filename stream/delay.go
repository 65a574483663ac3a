package stream

import (
	"sync"
	"time"

	"github.com/spate-project/spate/stream/engine"
)

// delays measures how long reads wait for their bytes here, from the datagram
// that asks to the end of the read. It counts in spans of delaySpan.
type delays struct {
	mu      sync.Mutex
	waiting int            // guarded by mu: reads that have no bytes yet
	sum     time.Duration  // guarded by mu: of those that got them in this span
	n       int            // guarded by mu
	since   engine.Instant // guarded by mu: begin of the span
	last    time.Duration  // guarded by mu: mean of the span before
}

// begin notes a read that is handed to a pool.
func (d *delays) begin() {
	d.mu.Lock()
	d.waiting++
	d.mu.Unlock()
}

// end notes that such a read has ended after it took so long.
func (d *delays) end(took time.Duration) {
	d.mu.Lock()
	d.waiting--
	d.sum += took
	d.n++
	d.mu.Unlock()
}

// quick notes a read that was answered from memory.
func (d *delays) quick(took time.Duration) {
	d.mu.Lock()
	d.sum += took
	d.n++
	d.mu.Unlock()
}

// mean is how long reads took lately. While all that there are still wait, it
// is at least as long as they have waited.
func (d *delays) mean(now engine.Instant) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	span := now.Sub(d.since)
	switch {
	case span < delaySpan:
	case d.n > 0:
		d.last = d.sum / time.Duration(d.n)
		d.sum, d.n, d.since = 0, 0, now
	case d.waiting > 0:
		return max(d.last, span)
	default:
		d.last, d.since = 0, now
	}
	return d.last
}

// QueueDelay is how long a read waits here for its bytes, on average over the
// last second or so.
func (s *Server) QueueDelay() time.Duration { return s.delay.mean(s.now()) }
