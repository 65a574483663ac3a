package stream

import (
	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/stream/engine"
)

// bootTime is CLOCK_BOOTTIME: it never goes back and counts suspended time, so
// that lifetimes told to a laptop that slept are over when it wakes.
func bootTime() engine.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("stream: CLOCK_BOOTTIME: " + err.Error()) // the kernel has had it since 2.6.39
	}
	return engine.Instant(ts.Nano())
}
