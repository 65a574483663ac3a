package blockdev

import (
	"context"
	"errors"
	"fmt"
)

// Errors that a Device may wrap; the NBD server tells the client which.
var (
	// ErrReadOnly says that the device takes no writes.
	ErrReadOnly = errors.New("the device is read-only")
	// ErrRange says that a request reaches past the end of the device.
	ErrRange = errors.New("past the end of the device")
	// ErrNoSpace says that the device cannot store more.
	ErrNoSpace = errors.New("no space left on the device")
	// ErrClosed says that the device was closed.
	ErrClosed = errors.New("the device is closed")
	// ErrUnsupported says that the device cannot do this at all.
	ErrUnsupported = errors.New("the device cannot do that")
)

// Device is a disk. All methods may be called at the same time from many goroutines, also for the same bytes; offsets
// and lengths are in bytes. The methods with a context may wait, for as long as the context lets them; none keeps p.
type Device interface {
	// Size is the length of the disk. It does not change.
	Size() int64
	// BlockSizes tells which requests the device likes.
	BlockSizes() BlockSizes
	// ReadOnly says that WriteAt, Trim and WriteZeroes fail with ErrReadOnly.
	ReadOnly() bool
	// ReadAt fills p with what is at off, or fails.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// WriteAt stores p at off. After an error any part of it may be stored.
	WriteAt(ctx context.Context, p []byte, off int64) error
	// Trim says that length bytes at off are not needed any more. What is read there afterwards is old data or zeros.
	Trim(ctx context.Context, off, length int64) error
	// WriteZeroes makes length bytes at off zero.
	WriteZeroes(ctx context.Context, off, length int64) error
	// Flush returns when everything that was written before is as safe as the device can make it.
	Flush(ctx context.Context) error
}

// BlockSizes are sizes in bytes, each a power of two.
type BlockSizes struct {
	Minimum   uint32 // offsets and lengths are multiples of it; 1 when the device takes anything
	Preferred uint32 // requests of at least this size, and aligned to it, are the efficient ones
}

// TryReader is a Device that can tell when it could answer a read without waiting.
type TryReader interface {
	// TryReadAt is ReadAt that never waits; false when it would have to, and then p may hold anything.
	TryReadAt(p []byte, off int64) bool
}

// TryWriter is a Device that can tell when it could take a write without waiting.
type TryWriter interface {
	// TryWriteAt is WriteAt that never waits; false when it would have to. It may then have stored a part; the caller
	// repeats the whole write with WriteAt.
	TryWriteAt(p []byte, off int64) bool
}

// Mapper is a Device that knows where it is zero.
type Mapper interface {
	// Extent describes the run of bytes at off: at least one and at most length bytes that all read as zeros, or for
	// which that is not known.
	Extent(ctx context.Context, off, length int64) (n int64, zero bool, err error)
}

// Prefetcher is a Device that can be told what will be read soon.
type Prefetcher interface {
	// Prefetch brings length bytes at off nearer, if it can.
	Prefetch(ctx context.Context, off, length int64) error
}

// CheckRange returns ErrRange when length bytes at off do not lie inside size bytes.
func CheckRange(off, length, size int64) error {
	if off < 0 || length < 0 || off > size || length > size-off {
		return fmt.Errorf("%d bytes at %d of %d: %w", length, off, size, ErrRange)
	}
	return nil
}
