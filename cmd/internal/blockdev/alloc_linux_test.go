//go:build !race

package blockdev

import (
	"io"
	"testing"
)

// Neither reads nor writes of the kernel allocate, in a cache that outlives its process: a page that is written out to get
// memory must not need any.
func TestTheKernelsRequestsDoNotAllocate(t *testing.T) {
	const size, depth, length = 8 << 20, 8, 4096
	c, err := NewKeptWriteCache(NewMemory(size), size, Kept{Data: memfd(t, "data"), Map: memfd(t, "map")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := &fakeKernel{}
	n, err := attachKernel(k, c, KernelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer run(t, n)()
	// Blocks that are new, in leaves that are new, and then blocks that are there.
	var rounds [][]byte
	data := pattern(length)
	for at := int64(0); len(rounds) < size/length/depth; {
		var out []byte
		for i := range uint64(depth) {
			at = (at + 37*length) % size
			out = append(append(out, requestBytes(0, cmdWrite, i, at, length)...), data...)
			out = append(out, requestBytes(0, cmdRead, depth+i, at, length)...)
		}
		rounds = append(rounds, out)
	}
	in, round := make([]byte, depth*(2*simpleHeaderSize+length)), 0
	once := func() {
		round++
		if _, err := k.sock.Write(rounds[round%len(rounds)]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(k.sock, in); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		once()
	}
	if n := testing.AllocsPerRun(500, once); n != 0 {
		t.Errorf("%v allocations for %d writes and reads", n, 2*depth)
	}
}
