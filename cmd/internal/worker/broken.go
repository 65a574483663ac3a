package worker

import (
	"context"

	"github.com/spate-project/spate/cmd/internal/blockdev"
)

// broken is a disk of which nothing is right any more: everything fails, for the same reason.
type broken struct {
	size int64
	why  error
}

// Size implements blockdev.Device.
func (b broken) Size() int64 { return b.size }

// BlockSizes implements blockdev.Device.
func (b broken) BlockSizes() blockdev.BlockSizes {
	return blockdev.BlockSizes{Minimum: 1, Preferred: blockdev.CacheBlock}
}

// ReadOnly implements blockdev.Device.
func (b broken) ReadOnly() bool { return false }

// ReadAt implements blockdev.Device.
func (b broken) ReadAt(context.Context, []byte, int64) error { return b.why }

// WriteAt implements blockdev.Device.
func (b broken) WriteAt(context.Context, []byte, int64) error { return b.why }

// Trim implements blockdev.Device.
func (b broken) Trim(context.Context, int64, int64) error { return b.why }

// WriteZeroes implements blockdev.Device.
func (b broken) WriteZeroes(context.Context, int64, int64) error { return b.why }

// Flush implements blockdev.Device.
func (b broken) Flush(context.Context) error { return b.why }
