package blockdev

import (
	"math/bits"
	"sync"
)

// Buffers for payload come in powers of two from 4 KiB to MaxRequest.
const (
	minBufferBits = 12
	maxBufferBits = 25
)

// buffer is payload of one request. It belongs to the request from newBuffer until release.
type buffer struct {
	bytes []byte // of the length asked for
	class int
}

var buffers [maxBufferBits - minBufferBits + 1]sync.Pool

// newBuffer gives length bytes, at most MaxRequest, with any content.
func newBuffer(length int) *buffer {
	class := max(0, bits.Len(uint(max(length, 1)-1))-minBufferBits)
	b, _ := buffers[class].Get().(*buffer)
	if b == nil {
		b = &buffer{bytes: make([]byte, 1<<(minBufferBits+class)), class: class}
	}
	b.bytes = b.bytes[:length]
	return b
}

// release gives the buffer back; it must not be used afterwards. A nil buffer is fine.
func (b *buffer) release() {
	if b != nil {
		buffers[b.class].Put(b)
	}
}
