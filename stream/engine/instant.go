package engine

import "time"

// Instant is a point on one machine's own clock, in nanoseconds since an
// arbitrary origin. The clock must never go back and should count suspended
// time (CLOCK_BOOTTIME). Instants of two machines are never compared.
type Instant int64

// Never is later than every other Instant: a deadline that does not exist.
const Never Instant = 1<<63 - 1

// Add returns the instant d after t; Never stays Never.
func (t Instant) Add(d time.Duration) Instant {
	if t == Never {
		return Never
	}
	return t + Instant(d)
}

// Sub returns the time from u to t.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }

func earlier(a, b Instant) Instant {
	if a < b {
		return a
	}
	return b
}

func later(a, b Instant) Instant {
	if a > b {
		return a
	}
	return b
}
