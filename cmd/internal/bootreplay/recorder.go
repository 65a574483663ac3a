package bootreplay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spate-project/spate/cmd/internal/blockdev"
)

// Recorder is a blockdev.Device that notes what is asked of the one behind it. What that can do beyond a Device is hidden,
// so that every request comes by here and waits for its answer.
type Recorder struct {
	device blockdev.Device
	start  time.Time

	mu       sync.Mutex // guards what follows
	requests []Request  // End is negative until they have ended
	failed   error      // the first one
	lost     int        // beyond maxRequests
}

// NewRecorder begins a recording of what is asked of d.
func NewRecorder(d blockdev.Device) *Recorder { return &Recorder{device: d, start: time.Now()} }

// note runs a request and notes it.
func (r *Recorder) note(op Op, off, length int64, do func() error) error {
	r.mu.Lock()
	i := len(r.requests)
	if i == maxRequests {
		r.lost++
		r.mu.Unlock()
		return do()
	}
	r.requests = append(r.requests, Request{op, off, length, time.Since(r.start), -1})
	r.mu.Unlock()
	err := do()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.requests[i].End = time.Since(r.start); err != nil && r.failed == nil {
		r.failed = fmt.Errorf("%s of %d bytes at %d: %w", op, length, off, err)
	}
	return err
}

// Recording is everything that has ended by now. It is an error when anything failed: what a machine did then is nothing
// to compare disks by.
func (r *Recorder) Recording() (*Recording, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return nil, r.failed
	}
	if r.lost > 0 {
		return nil, fmt.Errorf("%d requests; a recording holds %d", len(r.requests)+r.lost, maxRequests)
	}
	ended := slices.DeleteFunc(slices.Clone(r.requests), func(q Request) bool { return q.End < 0 })
	slices.SortStableFunc(ended, func(a, b Request) int { return cmp.Compare(a.Begin, b.Begin) })
	return &Recording{Version: formatVersion, Size: r.device.Size(), Requests: ended}, nil
}

// Size implements blockdev.Device.
func (r *Recorder) Size() int64 { return r.device.Size() }

// BlockSizes implements blockdev.Device.
func (r *Recorder) BlockSizes() blockdev.BlockSizes { return r.device.BlockSizes() }

// ReadOnly implements blockdev.Device.
func (r *Recorder) ReadOnly() bool { return r.device.ReadOnly() }

// ReadAt implements blockdev.Device.
func (r *Recorder) ReadAt(ctx context.Context, p []byte, off int64) error {
	return r.note(Read, off, int64(len(p)), func() error { return r.device.ReadAt(ctx, p, off) })
}

// WriteAt implements blockdev.Device.
func (r *Recorder) WriteAt(ctx context.Context, p []byte, off int64) error {
	return r.note(Write, off, int64(len(p)), func() error { return r.device.WriteAt(ctx, p, off) })
}

// Trim implements blockdev.Device.
func (r *Recorder) Trim(ctx context.Context, off, length int64) error {
	return r.note(Trim, off, length, func() error { return r.device.Trim(ctx, off, length) })
}

// WriteZeroes implements blockdev.Device.
func (r *Recorder) WriteZeroes(ctx context.Context, off, length int64) error {
	return r.note(Zero, off, length, func() error { return r.device.WriteZeroes(ctx, off, length) })
}

// Flush implements blockdev.Device.
func (r *Recorder) Flush(ctx context.Context) error {
	return r.note(Flush, 0, 0, func() error { return r.device.Flush(ctx) })
}
