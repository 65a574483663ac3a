package stream

import (
	"testing"
	"time"

	"github.com/spate-project/spate/stream/engine"
)

// The delay that a server reports is the mean of the last second's reads; a disk that answers nothing at all does not
// look idle, and an idle server not slow.
func TestQueueDelayTellsABusyDiskFromAnIdleOne(t *testing.T) {
	var d delays
	now := engine.Instant(0)
	after := func(wait, want time.Duration) {
		t.Helper()
		now = now.Add(wait)
		if got := d.mean(now); got != want {
			t.Fatalf("at %v: %v, want %v", time.Duration(now), got, want)
		}
	}
	after(0, 0)
	for range 3 {
		d.quick(10 * time.Microsecond)
	}
	d.begin()
	d.end(70 * time.Microsecond)
	after(delaySpan/2, 0)
	after(delaySpan/2, 25*time.Microsecond)
	after(delaySpan/2, 25*time.Microsecond)
	d.begin() // the disk hangs
	after(delaySpan/2, delaySpan)
	after(3*delaySpan, 4*delaySpan)
	d.end(4 * delaySpan)
	after(0, 4*delaySpan)
	after(delaySpan, 0)
}
