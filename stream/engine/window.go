package engine

import "time"

// window decides how many bytes a target may have asked for and not received.
//
// The signal is delay: a standing queue at the bottleneck shows in the smallest
// round trip of a round, compared with the smallest one of the last seconds.
// Below the target delay the window grows, above it shrinks in proportion to
// the excess. Loss alone is no signal, because links lose datagrams at random;
// only a loss so heavy that it must be a full queue without delay (a policer, a
// short buffer) shrinks the window too.
//
// The ideas are those of Swift (SIGCOMM 2020) and LEDBAT++; the sender side of
// both is the receiver here, because the target pulls.
type window struct {
	bytes     int // the window
	floor     int // never smaller than this
	slowStart bool

	base     [baseSlots]time.Duration // smallest round trip in each slot of baseSlot
	baseSlot Instant                  // when the current slot began

	roundEnd   Instant       // when the current round ends
	roundMin   time.Duration // smallest sample of the round, 0 when none
	roundGot   int           // bytes received in the round
	roundLost  int           // bytes found lost in the round
	limited    bool          // the window, not the reader, was the limit in this round
	lastShrink Instant
}

func newWindow() window {
	return window{bytes: initialWindow, floor: minWindow, slowStart: true}
}

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

// targetDelay is the standing queue that is aimed at: a part of the base round
// trip, within bounds that keep it above the noise of a busy machine and below
// what a person would feel.
func (w *window) targetDelay() time.Duration {
	return min(max(w.baseRTT()/2, minTargetDelay), maxTargetDelay)
}

// sample takes a round trip of the first datagram of an answer.
func (w *window) sample(now Instant, d time.Duration) {
	d = max(d, minRoundTrip)
	if now.Sub(w.baseSlot) >= baseSlotLength {
		copy(w.base[1:], w.base[:baseSlots-1])
		w.base[0] = 0
		w.baseSlot = now
	}
	if w.base[0] == 0 || d < w.base[0] {
		w.base[0] = d
	}
	if w.roundMin == 0 || d < w.roundMin {
		w.roundMin = d
	}
}

// received counts n bytes that arrived and closes the round when it is over.
func (w *window) received(now Instant, n int, smoothed time.Duration) {
	w.roundGot += n
	if w.slowStart && w.limited {
		w.bytes = min(w.bytes+n, maxWindow)
	}
	if now < w.roundEnd {
		return
	}
	w.endRound(now)
	w.roundEnd = now.Add(max(smoothed, minRound))
	w.roundMin, w.roundGot, w.roundLost, w.limited = 0, 0, 0, false
}

// lost counts n bytes that were found lost.
func (w *window) lost(n int) { w.roundLost += n }

func (w *window) endRound(now Instant) {
	if w.roundMin == 0 {
		return
	}
	queue := w.roundMin - w.baseRTT()
	target := w.targetDelay()
	heavy := w.roundLost*heavyLossPart > w.roundGot+w.roundLost && w.roundLost > heavyLossBytes
	switch {
	case queue > target:
		w.slowStart = false
		excess := float64(queue-target) / float64(queue)
		w.shrink(now, 1-min(maxShrink, excess/2))
	case heavy:
		w.slowStart = false
		w.shrink(now, heavyShrink)
	case w.slowStart:
		if queue > target/2 {
			w.slowStart = false
		}
	case w.limited:
		w.bytes = min(w.bytes+windowStep, maxWindow)
	}
}

func (w *window) shrink(now Instant, by float64) {
	w.bytes = max(int(float64(w.bytes)*by), w.floor)
	w.lastShrink = now
}

// collapse starts over on a path of which nothing is known any more.
func (w *window) collapse() {
	w.bytes = max(min(w.bytes/2, initialWindow), w.floor)
	w.slowStart = true
}
