package farm

import (
	"sync"
	"time"
)

// EpochLength is how long tickets are sealed under one epoch. A ticket is valid in its own epoch and the next.
const EpochLength = time.Hour

// Epochs counts the epochs of ticket keys. Every server advances its own count by its monotonic clock and
// adopts a higher one that it hears of, so that the servers of a farm agree without comparing clocks. It is
// safe for concurrent use.
type Epochs struct {
	mu     sync.Mutex // guards the fields below
	number uint32
	since  time.Time
}

// NewEpochs begins with the number that was kept from an earlier life of the server.
func NewEpochs(now time.Time, number uint32) *Epochs {
	return &Epochs{number: number, since: now}
}

// Current returns the number of the present epoch.
func (e *Epochs) Current(now time.Time) uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	for now.Sub(e.since) >= EpochLength {
		e.number++
		e.since = e.since.Add(EpochLength)
	}
	return e.number
}

// Hear adopts the number of another server if it is higher, and returns whether it was.
func (e *Epochs) Hear(now time.Time, number uint32) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if number <= e.number {
		return false
	}
	e.number, e.since = number, now
	return true
}

// Valid tells whether a ticket of an epoch is still good: of the present epoch, the one before, or one that
// another server has begun already and this one has not heard of yet.
func (e *Epochs) Valid(now time.Time, number uint32) bool {
	current := e.Current(now)
	return number == current || number+1 == current || number == current+1
}
