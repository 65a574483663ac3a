//go:build !race

package blockdev

import (
	"io"
	"testing"
)

// A read costs no allocation at the server, whether it is answered at once or has to wait, in either kind of reply.
func TestReadsDoNotAllocate(t *testing.T) {
	for _, structured := range []bool{false, true} {
		for _, slow := range []bool{false, true} {
			const depth, length = 8, 4096
			m := NewMemory(1 << 20)
			m.Slow = slow
			path, _, _ := serve(t, m, Options{})
			c := attach(t, path, structured)
			var out []byte
			for i := range int64(depth) {
				out = append(out, requestBytes(0, cmdRead, uint64(i), i*length, length)...)
			}
			size := simpleHeaderSize + length
			if structured {
				size = offsetDataSize + length
			}
			in := make([]byte, depth*size)
			once := func() {
				if _, err := c.sock.Write(out); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c.in, in); err != nil {
					t.Fatal(err)
				}
			}
			for range 200 { // all goroutines and buffers that this takes
				once()
			}
			if n := testing.AllocsPerRun(500, once); n != 0 {
				t.Errorf("structured %v, slow %v: %v allocations for %d reads", structured, slow, n, depth)
			}
		}
	}
}

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
