package testdisk

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// What Reader gives is right in the eyes of Checker, in pieces of any size; one changed byte, and a block in the wrong
// place, are not.
func TestCheckerTellsTheDiskFromAnythingElse(t *testing.T) {
	const size = 133*BlockSize + 512
	b, err := io.ReadAll(Reader(size))
	if err != nil || len(b) != size {
		t.Fatal(len(b), err)
	}
	if err := iotest.TestReader(Reader(size), b); err != nil {
		t.Error(err)
	}
	var c Checker
	for _, piece := range []int{1000, BlockSize, 3*BlockSize + 7, size} {
		for at := 0; at < size; at += piece {
			if n := c.Wrong(b[at:min(at+piece, size)], int64(at)); n != 0 {
				t.Errorf("%d blocks at %d are called wrong", n, at)
			}
		}
	}
	b[70*BlockSize+99] ^= 4
	if n := c.Wrong(b, 0); n != 1 {
		t.Errorf("one changed byte: %d blocks are called wrong", n)
	}
	if n := c.Wrong(b[:40*BlockSize], 20*BlockSize); n != 40 {
		t.Errorf("blocks in the wrong place: %d of 40 are called wrong", n)
	}
	if bytes.Equal(b[90*BlockSize:91*BlockSize], b[91*BlockSize:92*BlockSize]) {
		t.Error("two blocks are equal")
	}
}
