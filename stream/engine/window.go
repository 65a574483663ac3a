package engine

import "time"

// window decides how many bytes a target may have asked for and not received.
//
// The signal is delay. A standing queue at the bottleneck shows in the smallest
// round trip of a round, compared with the smallest one of late, the base. While
// the queue is below a target the window grows by a step each round; when it
// stays above, the window is halved. All targets of a bottleneck see the same
// queue and shrink at once, so that it runs empty: that makes their shares
// converge. Whoever comes to a full queue takes it for the base. So a target
// that has not seen its base again for a while drains: it has next to nothing
// under way for some round trips, and looks. The dip shows in what all others
// measure, so that from then on all of them drain at the same time, and see the
// way without a queue.
//
// Loss alone is no signal, because links lose datagrams at random; only a loss
// so heavy that it must be a full queue without delay (a policer, a short
// buffer) shrinks the window too.
//
// The ideas are those of Swift (SIGCOMM 2020), of BBR's search for the smallest
// round trip, and of HyStart++ (RFC 9406); the sender's side of them is the
// receiver here, because the target pulls.
type window struct {
	bytes     int // the window
	most      int // that it grows to
	slowStart bool
	steep     int // samples in a row that speak against slow start

	base     time.Duration // smallest round trip of late, 0 when unknown
	seen     Instant       // when it was measured last, or nearly
	draining bool
	drained  Instant       // when that began last
	lowest   time.Duration // of the samples without anything of ours before them, 0 before the first
	lookEnds Instant       // when such samples are enough

	high     int           // rounds in a row with a queue above the target
	changed  Instant       // when the window last shrank: what was asked for earlier says nothing about it
	roundEnd Instant       // when the current round ends
	roundMin time.Duration // smallest sample of the round, 0 when none
	got      int           // bytes received in the round
	lost     int           // bytes found lost in the round
	limited  bool          // the window, not the reader, was the limit in this round
}

// newWindow makes a window that grows to most bytes.
func newWindow(most int) window {
	return window{bytes: min(initialWindow, most), most: most, slowStart: true}
}

// allowed is how many bytes may be under way now.
func (w *window) allowed() int {
	if w.draining {
		return leastPiece
	}
	return w.bytes
}

// target is the standing queue up to which the window grows: a part of the base
// round trip, within bounds that keep it above the noise of a busy machine and
// below what a person would feel.
func (w *window) target() time.Duration {
	return min(max(w.base/2, minTargetDelay), maxTargetDelay)
}

// sample takes the round trip of an answer's first datagram, asked for at sent.
func (w *window) sample(now, sent Instant, d time.Duration) {
	d = max(d, minRoundTrip)
	if w.draining && sent > w.drained {
		// Nothing of ours stood before this one. Others may be a little later.
		if w.lowest == 0 {
			w.lowest, w.lookEnds = d, now.Add(d)
		}
		if w.lowest = min(w.lowest, d); now >= w.lookEnds {
			w.draining, w.base, w.seen, w.changed = false, w.lowest, now, now
		}
		return
	}
	if w.base == 0 || d <= w.base+w.slack() {
		w.base, w.seen = min(d, w.baseOr(d)), now
	}
	if sent < w.changed || w.draining {
		return
	}
	if w.roundMin == 0 || d < w.roundMin {
		w.roundMin = d
	}
	if !w.slowStart {
		return
	}
	if d <= w.base+w.target()/2 {
		w.steep = 0
	} else if w.steep++; w.steep >= steepSamples {
		w.slowStart = false
	}
}

// slack is how much longer a round trip may be that still confirms the base: on
// a long way halves of windows leave no queue, so that there is no need to look.
func (w *window) slack() time.Duration {
	if w.base < slackTrip {
		return 0
	}
	return w.base / baseSlack
}

func (w *window) baseOr(d time.Duration) time.Duration {
	if w.base == 0 {
		return d
	}
	return w.base
}

// received counts n bytes that arrived and closes the round when it is over.
func (w *window) received(now Instant, n int, smoothed time.Duration) {
	w.got += n
	if w.slowStart && w.limited {
		w.bytes = min(w.bytes+n, w.most)
	}
	if w.draining && now.Sub(w.drained) > drainMost*smoothed {
		w.draining = false // no sample has come of it
	}
	if now < w.roundEnd {
		return
	}
	w.endRound(now)
	if w.limited && now.Sub(later(w.seen, w.drained)) >= max(drainAfter, drainRounds*smoothed) && w.bytes > 2*minWindow {
		w.draining, w.drained, w.lowest = true, now, 0
	}
	w.roundEnd = now.Add(max(smoothed, minRound))
	w.roundMin, w.got, w.lost, w.limited = 0, 0, 0, false
}

// miss counts n bytes that were found lost.
func (w *window) miss(n int) { w.lost += n }

func (w *window) endRound(now Instant) {
	if w.roundMin == 0 {
		return
	}
	if w.roundMin-w.base > w.target() {
		w.high++
	} else {
		w.high = 0
	}
	switch {
	case w.high >= highRounds:
		w.shrink(now, min(max(drainPart*float64(w.base)/float64(w.roundMin), leastShrink), mostShrink))
	case w.high > 0: // perhaps this machine was busy, or the other one
	case w.lost*heavyLossPart > w.got+w.lost && w.lost > heavyLossBytes:
		w.shrink(now, heavyShrink)
	case w.limited && !w.slowStart:
		w.bytes = min(w.bytes+w.step(), w.most)
	}
}

// step is how much the window grows in a round: more on a long way, where it
// has further to go and rounds are few.
func (w *window) step() int {
	return windowStep * int(min(max(w.base/stepTrip, 1), maxSteps))
}

func (w *window) shrink(now Instant, by float64) {
	w.slowStart, w.high = false, 0
	w.bytes = max(int(float64(w.bytes)*by), minWindow)
	w.changed = now
}

// collapse starts over on a path of which nothing is known any more.
func (w *window) collapse() {
	w.bytes = max(min(w.bytes/2, initialWindow), minWindow)
	w.slowStart, w.steep, w.draining = true, 0, false
}

// piece is how many bytes one request asks for: small parts of the window keep
// the answers flowing, larger ones make fewer requests.
func (w *window) piece() int { return min(max(w.allowed()/windowPieces, leastPiece), mostPiece) }
