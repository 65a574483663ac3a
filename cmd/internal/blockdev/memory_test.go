package blockdev

import (
	"bytes"
	"context"
	"sync"
)

// Memory is a Device in a byte slice. Its hooks make it slow or faulty.
type Memory struct {
	// Before is called by every method that may wait, before it does anything; an error is that method's result. It is
	// set before the device is used.
	Before func(ctx context.Context, op string, off, length int64) error
	// Slow makes the device never answer at once, so that every request takes the way of one that waits.
	Slow bool

	fixed bool
	mu    sync.RWMutex // guards data
	data  []byte
}

// NewMemory makes a disk of size zero bytes.
func NewMemory(size int64) *Memory { return &Memory{data: make([]byte, size)} }

// NewMemoryOf makes a disk that uses data itself; a read-only one never writes to it.
func NewMemoryOf(data []byte, readOnly bool) *Memory { return &Memory{data: data, fixed: readOnly} }

// Bytes is a copy of the disk.
func (m *Memory) Bytes() []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return bytes.Clone(m.data)
}

// Size implements Device.
func (m *Memory) Size() int64 { return int64(len(m.data)) }

// BlockSizes implements Device.
func (m *Memory) BlockSizes() BlockSizes { return BlockSizes{Minimum: 1, Preferred: 4096} }

// ReadOnly implements Device.
func (m *Memory) ReadOnly() bool { return m.fixed }

func (m *Memory) before(ctx context.Context, op string, off, length int64) error {
	if err := CheckRange(off, length, m.Size()); err != nil {
		return err
	}
	if m.Before != nil {
		if err := m.Before(ctx, op, off, length); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// ReadAt implements Device.
func (m *Memory) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := m.before(ctx, "read", off, int64(len(p))); err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	copy(p, m.data[off:])
	return nil
}

// TryReadAt implements TryReader.
func (m *Memory) TryReadAt(p []byte, off int64) bool {
	if m.Slow || m.Before != nil || CheckRange(off, int64(len(p)), m.Size()) != nil {
		return false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	copy(p, m.data[off:])
	return true
}

func (m *Memory) change(ctx context.Context, op string, off, length int64, f func(part []byte)) error {
	if m.fixed {
		return ErrReadOnly
	}
	if err := m.before(ctx, op, off, length); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.data[off : off+length])
	return nil
}

// WriteAt implements Device.
func (m *Memory) WriteAt(ctx context.Context, p []byte, off int64) error {
	return m.change(ctx, "write", off, int64(len(p)), func(part []byte) { copy(part, p) })
}

// Trim implements Device; what is trimmed reads as zeros.
func (m *Memory) Trim(ctx context.Context, off, length int64) error {
	return m.change(ctx, "trim", off, length, func(part []byte) { clear(part) })
}

// WriteZeroes implements Device.
func (m *Memory) WriteZeroes(ctx context.Context, off, length int64) error {
	return m.change(ctx, "zero", off, length, func(part []byte) { clear(part) })
}

// Flush implements Device.
func (m *Memory) Flush(ctx context.Context) error { return m.before(ctx, "flush", 0, 0) }

// Prefetch implements Prefetcher.
func (m *Memory) Prefetch(ctx context.Context, off, length int64) error {
	return m.before(ctx, "prefetch", off, length)
}

// memoryExtent is the granularity in which a Memory looks for zeros, in bytes.
const memoryExtent = 4096

// Extent implements Mapper.
func (m *Memory) Extent(ctx context.Context, off, length int64) (n int64, zero bool, err error) {
	if err := m.before(ctx, "extent", off, length); err != nil {
		return 0, false, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for n < length {
		part := m.data[off+n : off+min(length, n+memoryExtent-(off+n)%memoryExtent)]
		if z := isZero(part); n == 0 {
			zero = z
		} else if z != zero {
			return n, zero, nil
		}
		n += int64(len(part))
	}
	return n, zero, nil
}
