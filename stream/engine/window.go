package engine

import "time"

// window decides how many bytes a target may have asked for and not received.
//
// The signal is delay. A standing queue at the bottleneck shows in the smallest
// round trip of a round, compared with the smallest one of the last seconds.
// While it is below the target the window grows by a step each round; above it
// the window shrinks to what the path carries without a queue. All targets of a
// bottleneck see the same queue and shrink at once, so that it runs empty: that
// makes their shares converge, and shows the true round trip to those that came
// late. Loss alone is no signal, because links lose datagrams at random; only a
// loss so heavy that it must be a full queue without delay (a policer, a short
// buffer) shrinks the window too.
//
// The ideas are those of Swift (SIGCOMM 2020) and LEDBAT++; the sender side of
// both is the receiver here, because the target pulls.
type window struct {
	bytes     int // the window
	slowStart bool

	base     [baseSlots]time.Duration // smallest round trip in each slot of time, the latest first
	baseSlot Instant                  // when the latest slot began

	changed  Instant       // when the window last shrank: what was asked for earlier says nothing about it
	roundEnd Instant       // when the current round ends
	roundMin time.Duration // smallest sample of the round, 0 when none
	got      int           // bytes received in the round
	lost     int           // bytes found lost in the round
	limited  bool          // the window, not the reader, was the limit in this round
}

func newWindow() window { return window{bytes: initialWindow, slowStart: true} }

// baseRTT is the smallest round trip lately seen, 0 when unknown.
func (w *window) baseRTT() time.Duration {
	var least time.Duration
	for _, b := range w.base {
		if b > 0 && (least == 0 || b < least) {
			least = b
		}
	}
	return least
}

// target is the standing queue up to which the window grows: a part of the base
// round trip, within bounds that keep it above the noise of a busy machine and
// below what a person would feel.
func (w *window) target() time.Duration {
	return min(max(w.baseRTT()/2, minTargetDelay), maxTargetDelay)
}

// sample takes the round trip of an answer's first datagram.
func (w *window) sample(now, sent Instant, d time.Duration) {
	d = max(d, minRoundTrip)
	if now.Sub(w.baseSlot) >= baseSlotLength {
		copy(w.base[1:], w.base[:baseSlots-1])
		w.base[0] = 0
		w.baseSlot = now
	}
	if w.base[0] == 0 || d < w.base[0] {
		w.base[0] = d
	}
	if sent >= w.changed && (w.roundMin == 0 || d < w.roundMin) {
		w.roundMin = d
	}
}

// received counts n bytes that arrived and closes the round when it is over.
func (w *window) received(now Instant, n int, smoothed time.Duration) {
	w.got += n
	if w.slowStart && w.limited {
		w.bytes = min(w.bytes+n, maxWindow)
	}
	if now < w.roundEnd {
		return
	}
	w.endRound(now)
	w.roundEnd = now.Add(max(smoothed, minRound))
	w.roundMin, w.got, w.lost, w.limited = 0, 0, 0, false
}

// miss counts n bytes that were found lost.
func (w *window) miss(n int) { w.lost += n }

func (w *window) endRound(now Instant) {
	if w.roundMin == 0 {
		return
	}
	base := w.baseRTT()
	queue, target := w.roundMin-base, w.target()
	switch {
	case queue > target:
		w.shrink(now, max(maxShrink, float64(base)/float64(w.roundMin)))
	case w.lost*heavyLossPart > w.got+w.lost && w.lost > heavyLossBytes:
		w.shrink(now, heavyShrink)
	case w.slowStart:
		w.slowStart = queue <= target/2
	case w.limited:
		w.bytes = min(w.bytes+windowStep, maxWindow)
	}
}

func (w *window) shrink(now Instant, by float64) {
	w.slowStart = false
	w.bytes = max(int(float64(w.bytes)*by), minWindow)
	w.changed = now
}

// collapse starts over on a path of which nothing is known any more.
func (w *window) collapse() {
	w.bytes = max(min(w.bytes/2, initialWindow), minWindow)
	w.slowStart = true
}

// piece is how many bytes one request asks for: small parts of the window keep
// the answers flowing, larger ones make fewer requests.
func (w *window) piece() int { return min(max(w.bytes/windowPieces, leastPiece), mostPiece) }
