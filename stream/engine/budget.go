package engine

import "time"

// budget is a token bucket: rate a second, burst at once.
type budget struct {
	rate  float64
	burst float64
	left  float64
	at    Instant
}

func newBudget(rate, burst float64) budget { return budget{rate: rate, burst: burst, left: burst} }

// take takes one token. When there is none it says after what time there will be.
func (b *budget) take(now Instant) (ok bool, wait time.Duration) {
	b.left = min(b.burst, b.left+b.rate*now.Sub(b.at).Seconds())
	b.at = now
	if b.left >= 1 {
		b.left--
		return true, 0
	}
	return false, time.Duration((1 - b.left) / b.rate * float64(time.Second))
}
