package blockdev

import (
	"os"
	"sync/atomic"
	"unsafe"
)

// wordSize is the size in bytes of what is stored at once or not at all.
const wordSize = 8

// memory is memory of a write cache. All that is to be found there by a successor is stored by store, setWord and discard.
type memory struct {
	bytes  []byte
	mapped bool
	file   *os.File // whose memory it is, or nil
	// seam is nil but in tests: called before anything is stored, it may store a part of it and end the goroutine.
	seam func(dst, src []byte)
}

// store copies p to off. A process that dies meanwhile leaves any part of it behind.
func (m *memory) store(off int64, p []byte) {
	dst := m.bytes[off : off+int64(len(p))]
	if m.seam != nil {
		m.seam(dst, p)
	}
	copy(dst, p)
}

// setWord stores eight bytes at off, a multiple of eight: after everything that was stored before, and at once.
func (m *memory) setWord(off int64, v uint64) {
	if m.seam != nil {
		m.seam(nil, nil)
	}
	atomic.StoreUint64(m.word(off), v)
}

func (m *memory) getWord(off int64) uint64 { return atomic.LoadUint64(m.word(off)) }

func (m *memory) word(off int64) *uint64 {
	b := m.bytes[off : off+wordSize : off+wordSize]
	return (*uint64)(unsafe.Pointer(&b[0])) // memory begins at a page, and off is a multiple of eight
}

// discard makes length bytes at off zeros that take up nothing. Both are multiples of CacheBlock; where pages are larger
// than that the memory stays.
func (m *memory) discard(off, length int64) {
	part := m.bytes[off : off+length]
	if m.seam != nil {
		m.seam(part, zeroBlock[:min(length, CacheBlock)])
	}
	if !m.punch(off, length) {
		clear(part)
	}
}

// discardKept makes the block at off zeros that keep their memory.
func (m *memory) discardKept(off int64) { m.store(off, zeroBlock[:]) }
