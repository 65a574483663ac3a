//go:build !linux

package stream

import (
	"time"

	"github.com/spate-project/spate/stream/engine"
)

var started = time.Now()

// bootTime counts from the start of this process, as far as the system's
// monotonic clock goes.
func bootTime() engine.Instant { return engine.Instant(time.Since(started)) + 1 }
