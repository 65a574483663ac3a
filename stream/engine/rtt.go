package engine

import "time"

// rtt estimates the round trip of one path in the way of RFC 6298 section 2,
// from samples that have the time for which the server held a request already
// taken out. The zero value knows nothing.
type rtt struct {
	smoothed  time.Duration
	variation time.Duration
	latest    time.Duration
	least     time.Duration // of all samples
}

func (r *rtt) known() bool { return r.smoothed > 0 }

// sample takes one measured round trip; a value below minRoundTrip counts as
// minRoundTrip, so that a coarse held time cannot bring the estimate to zero.
func (r *rtt) sample(d time.Duration) {
	d = max(d, minRoundTrip)
	r.latest = d
	if r.smoothed == 0 {
		r.smoothed, r.variation, r.least = d, d/2, d
		return
	}
	dev := r.smoothed - d
	if dev < 0 {
		dev = -dev
	}
	r.least = min(r.least, d)
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

// look is the time after which a server that is quiet is asked for a sign of
// life: that of a re-send, but what queues and busy machines have added to the
// round trip stretches it only so far. No sample comes while a server is silent,
// so the estimate of a bad moment would stand for ever.
func (r *rtt) look() time.Duration {
	if !r.known() {
		return unknownResend
	}
	return min(r.resend(), max(4*r.least, minResend)+mostQueueing)
}

// patience is the time after which an answer is overdue that others, asked for
// later, have overtaken, with the same bound.
func (r *rtt) patience() time.Duration {
	return min(r.smoothed+4*r.variation, r.least+mostQueueing) + promise + pendingSlack
}
