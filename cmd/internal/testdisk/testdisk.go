package testdisk

import (
	"bytes"
	"encoding/binary"
	"io"
)

// BlockSize is the size in bytes of the blocks that are made one by one.
const BlockSize = 4096

// stretch is how many blocks in a row are of one kind: 64 KiB, so that whole chunks are zero.
const stretch = 16

// Fill makes the block of that number in b, which has BlockSize bytes.
func Fill(b []byte, number int64) {
	x := uint64(number)*0x9e3779b97f4a7c15 + 1
	kind := number / stretch % 8
	if kind == 0 {
		clear(b)
		return
	}
	for i := 0; i < len(b); i += 8 {
		if kind >= 5 || i%64 == 0 { // of the blocks that compress, seven of eight words repeat
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		binary.LittleEndian.PutUint64(b[i:], x)
	}
}

// Reader gives the first size bytes of the disk, in order.
func Reader(size int64) io.Reader { return &reader{size: size} }

type reader struct {
	block    [BlockSize]byte
	at, size int64
}

func (r *reader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	off := r.at % BlockSize
	if off == 0 {
		Fill(r.block[:], r.at/BlockSize)
	}
	n := copy(p, r.block[off:min(BlockSize, off+r.size-r.at)])
	r.at += int64(n)
	return n, nil
}

// Checker compares what was read with what it must be. It serves one goroutine.
type Checker struct {
	want   [BlockSize]byte
	number int64 // of the block in want, from 1; 0 for none
}

// Wrong counts the blocks of which p, read at off, differs.
func (c *Checker) Wrong(p []byte, off int64) (blocks int64) {
	for len(p) > 0 {
		number, from := off/BlockSize, off%BlockSize
		if c.number != number+1 {
			Fill(c.want[:], number)
			c.number = number + 1
		}
		n := min(int64(len(p)), BlockSize-from)
		if !bytes.Equal(p[:n], c.want[from:from+n]) {
			blocks++
		}
		p, off = p[n:], off+n
	}
	return blocks
}
