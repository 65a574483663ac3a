package blockdev

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapAnonymous makes size bytes of zeros outside the Go heap, which take up nothing until they are written: the collector
// does not see them, there can be much more of it than is used, and parts can be given back.
func mapAnonymous(size int64) (*memory, error) {
	return mapped(nil, size, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
}

// mapFile makes the first size bytes of a file our memory. Whoever maps the file later finds what was stored. The file must
// stay open until free.
func mapFile(f *os.File, size int64) (*memory, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < size {
		return nil, fmt.Errorf("the memory has %d bytes of %d", st.Size(), size)
	}
	return mapped(f, size, unix.MAP_SHARED)
}

func mapped(f *os.File, size int64, flags int) (*memory, error) {
	fd := -1
	if f != nil {
		fd = int(f.Fd())
	}
	if int64(int(size)) != size {
		return nil, fmt.Errorf("map %d bytes of memory: this machine's addresses are too short", size)
	}
	b, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of memory: %w", size, err)
	}
	// Advice, and no harm where the kernel does not take it: a huge page would hold 511 blocks that are not there, and a
	// core dump is no place for the content of a disk.
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE)
	_ = unix.Madvise(b, unix.MADV_DONTDUMP)
	return &memory{bytes: b, mapped: true, file: f}, nil
}

// populate gets the memory for a part, if the kernel can do that at once (since 5.14).
func (m *memory) populate(off, length int64) {
	if m.mapped {
		_ = unix.Madvise(m.bytes[off:off+length], unix.MADV_POPULATE_WRITE) // else the first write gets it
	}
}

// punch gives memory back, if that can be.
func (m *memory) punch(off, length int64) bool {
	page := int64(os.Getpagesize())
	switch {
	case !m.mapped || (off|length)%page != 0:
		return false
	case m.file != nil:
		return unix.Fallocate(int(m.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length) == nil
	}
	return unix.Madvise(m.bytes[off:off+length], unix.MADV_DONTNEED) == nil
}

// nextPresent is where from off on memory is taken up, as far as that can be known; end when it is not before.
func (m *memory) nextPresent(off, end int64) int64 {
	if m.file == nil {
		return end
	}
	at, err := unix.Seek(int(m.file.Fd()), off, unix.SEEK_DATA)
	if err != nil { // there is nothing behind off
		return end
	}
	return min(at, end)
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
