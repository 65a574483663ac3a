package remote

import "math/bits"

// buffer is memory for the bytes of one answer, from the Go heap: the engine may hold it longer than the disk is open.
type buffer struct {
	bytes []byte
	class int
	next  *buffer
}

// buffers are free ones, by powers of two. The disk's lock guards them.
type buffers struct {
	free  [bufferClasses]*buffer
	bytes int64 // in free ones
	limit int64 // of bytes
}

// take gives a buffer of at least n bytes, with any content.
func (b *buffers) take(n int) *buffer {
	class := max(0, bits.Len(uint(max(n, 1)-1))-bits.Len(uint(minBuffer-1)))
	if f := b.free[class]; f != nil {
		b.free[class], f.next = f.next, nil
		b.bytes -= int64(len(f.bytes))
		return f
	}
	return &buffer{bytes: make([]byte, minBuffer<<class), class: class}
}

// give takes a buffer back; nil is fine.
func (b *buffers) give(f *buffer) {
	if f == nil || b.bytes+int64(len(f.bytes)) > b.limit {
		return
	}
	f.next = b.free[f.class]
	b.free[f.class] = f
	b.bytes += int64(len(f.bytes))
}
