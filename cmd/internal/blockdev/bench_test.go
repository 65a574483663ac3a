package blockdev

import (
	"fmt"
	"io"
	"testing"
)

// BenchmarkReads is 4 KiB reads through the socket, by requests in flight, from a device that answers at once and from
// one that might wait.
func BenchmarkReads(b *testing.B) {
	const length = 4096
	for _, slow := range []bool{false, true} {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("may wait %v, depth %d", slow, depth), func(b *testing.B) {
				m := NewMemory(64 << 20)
				m.Slow = slow
				path, _, _ := serve(b, m, Options{})
				c := attach(b, path, true)
				var out []byte
				for i := range int64(depth) {
					out = append(out, requestBytes(0, cmdRead, uint64(i), i*977*length%(64<<20), length)...)
				}
				in := make([]byte, depth*(offsetDataSize+length))
				b.SetBytes(int64(depth * length))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.sock.Write(out); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(c.in, in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkWriteCache is 4 KiB writes and reads without a socket.
func BenchmarkWriteCache(b *testing.B) {
	const size = 256 << 20
	c := newCache(b, NewMemory(size), size, nil)
	data := pattern(CacheBlock)
	b.Run("write", func(b *testing.B) {
		b.SetBytes(CacheBlock)
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			if !c.TryWriteAt(data, i*CacheBlock%size) {
				b.Fatal("it would have to wait")
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(CacheBlock)
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			if !c.TryReadAt(data, i*977*CacheBlock%size) {
				b.Fatal("it would have to wait")
			}
		}
	})
}
