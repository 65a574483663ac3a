//go:build !race

package blockdev

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// memory is anonymous memory outside the Go heap: the collector does not see it, it can be much larger than what is
// used of it, and parts of it can be given back.
type memory struct {
	bytes  []byte
	mapped bool
}

// newMemory makes size bytes of zeros, which take up nothing until they are written.
func newMemory(size int64) (*memory, error) {
	if int64(int(size)) != size {
		return nil, fmt.Errorf("map %d bytes of memory: this machine's addresses are too short", size)
	}
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of memory: %w", size, err)
	}
	// Advice, and no harm where the kernel does not take it: a huge page would hold 511 blocks that are not there, and a
	// core dump is no place for the content of a disk.
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE)
	_ = unix.Madvise(b, unix.MADV_DONTDUMP)
	return &memory{bytes: b, mapped: true}, nil
}

// discard makes length bytes at off zeros that take up nothing. Both are multiples of CacheBlock; where pages are larger
// than that the memory stays.
func (m *memory) discard(off, length int64) {
	part := m.bytes[off : off+length]
	page := int64(os.Getpagesize())
	if m.mapped && (off|length)%page == 0 && unix.Madvise(part, unix.MADV_DONTNEED) == nil {
		return
	}
	clear(part)
}

// free ends the memory. Nobody may touch it afterwards.
func (m *memory) free() error {
	b := m.bytes
	m.bytes = nil
	if !m.mapped || b == nil {
		return nil
	}
	return unix.Munmap(b)
}
