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
