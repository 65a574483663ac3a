//go:build !race

package remote

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// memory is anonymous memory outside the Go heap: the collector does not see it and does not double it, and what was
// never written takes up nothing.
type memory struct{ bytes []byte }

func newMemory(size int64) (memory, error) {
	if int64(int(size)) != size {
		return memory{}, fmt.Errorf("map %d bytes for a cache: this machine's addresses are too short", size)
	}
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return memory{}, fmt.Errorf("map %d bytes for a cache: %w", size, err)
	}
	// Advice, and no harm where the kernel does not take it: a core dump is no place for the content of a disk.
	_ = unix.Madvise(b, unix.MADV_DONTDUMP)
	return memory{bytes: b}, nil
}

// free ends the memory. Nobody may touch it afterwards.
func (m *memory) free() error {
	b := m.bytes
	m.bytes = nil
	if b == nil {
		return nil
	}
	return unix.Munmap(b)
}
