package blockdev

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// KeptUnanswered is the list of requests of the kernel in the memory of a kept write cache of a disk of size bytes: that which a
// predecessor left there, or an empty one. It ends with the process.
func KeptUnanswered(k Kept, size int64) (*Unanswered, error) {
	at := unansweredAt(size)
	st, err := k.Map.Stat()
	if err == nil && st.Size() < at+unansweredSize {
		err = k.Map.Truncate(at + unansweredSize)
	}
	if err != nil {
		return nil, fmt.Errorf("list of requests: %w", err)
	}
	b, err := unix.Mmap(int(k.Map.Fd()), at, unansweredSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("list of requests: %w", err)
	}
	return &Unanswered{memory: &memory{bytes: b, mapped: true, file: k.Map}, now: sinceStart}, nil
}

// sinceStart is CLOCK_MONOTONIC.
func sinceStart() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail for this clock
	return time.Duration(t.Nano())
}
