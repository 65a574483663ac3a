package engine

import "time"

// budget is a token bucket: rate a second, burst at once. It spreads those for
// whom there is no token, so that they do not all come back at the same time.
type budget struct {
	rate    float64
	burst   float64
	left    float64
	waiting float64 // those told to wait that have not come back yet, by estimate
	at      Instant
}

func newBudget(rate, burst float64) budget { return budget{rate: rate, burst: burst, left: burst} }

// take takes one token. When there is none it says after what time there will be.
func (b *budget) take(now Instant) (ok bool, wait time.Duration) {
	fresh := b.rate * now.Sub(b.at).Seconds()
	b.at = now
	b.left = min(b.burst, b.left+fresh)
	b.waiting = max(0, b.waiting-fresh)
	if b.left >= 1 {
		b.left--
		return true, 0
	}
	b.waiting++
	return false, time.Duration((b.waiting - b.left) / b.rate * float64(time.Second))
}
