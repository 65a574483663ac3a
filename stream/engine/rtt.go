package engine

import "time"

// rtt estimates the round trip of one path in the way of RFC 6298 section 2,
// from samples that have the time for which the server held a request already
// taken out. The zero value knows nothing.
type rtt struct {
	smoothed  time.Duration
	variation time.Duration
	latest    time.Duration
}

func (r *rtt) known() bool { return r.smoothed > 0 }

// sample takes one measured round trip; a value below minRoundTrip counts as
// minRoundTrip, so that a coarse held time cannot bring the estimate to zero.
func (r *rtt) sample(d time.Duration) {
	d = max(d, minRoundTrip)
	r.latest = d
	if r.smoothed == 0 {
		r.smoothed, r.variation = d, d/2
		return
	}
	dev := r.smoothed - d
	if dev < 0 {
		dev = -dev
	}
	r.variation += (dev - r.variation) / 4
	r.smoothed += (d - r.smoothed) / 8
}

// resend is the time after which an unanswered datagram is sent again.
func (r *rtt) resend() time.Duration {
	if !r.known() {
		return unknownResend
	}
	return min(max(4*r.smoothed, minResend), maxResend)
}

// patience is the time after which an answer is overdue that others, asked for
// later, have overtaken.
func (r *rtt) patience() time.Duration {
	return r.smoothed + 4*r.variation + promise + pendingSlack
}
