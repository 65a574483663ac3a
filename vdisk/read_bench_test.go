package vdisk

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

// BenchmarkReadAnswer reads from a file in the page cache: what a server pays for an answer besides sending it.
func BenchmarkReadAnswer(b *testing.B) {
	disk := image(3, 256<<20)
	for _, chunk := range []uint32{4 << 10, 16 << 10, 64 << 10} {
		v := open(b, write(b, b.TempDir(), disk, options(chunk, tree.CodecZstd)).Path)
		chunks := v.Shape().Chunks()
		for _, count := range []int{1, 64} {
			b.Run(fmt.Sprintf("%dx%dK", count, chunk>>10), func(b *testing.B) {
				p := make([]byte, 64*int(chunk))
				rng := rand.New(rand.NewPCG(1, 1))
				b.ReportAllocs()
				read := int64(0)
				for b.Loop() {
					n, _, err := v.ReadAnswer(p, 0, rng.Int64N(chunks-int64(count)), count, 0)
					if err != nil {
						b.Fatal(err)
					}
					read += int64(n)
				}
				b.SetBytes(read / int64(b.N))
			})
		}
	}
}
