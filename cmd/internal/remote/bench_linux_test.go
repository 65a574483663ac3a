package remote

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
)

// benchSize is the length of the disks that the benchmarks read, in bytes.
const benchSize = 96 << 20

// programs is a disk full of what root file systems are full of: this machine's programs, libraries and texts.
var programs = sync.OnceValue(func() []byte {
	data := make([]byte, 0, benchSize)
	for _, dir := range []string{"/usr/bin", "/usr/lib", "/usr/share"} {
		share := cap(data) / 3
		end := min(cap(data), len(data)+share)
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || len(data) >= end {
				return nil
			}
			if b, err := os.ReadFile(path); err == nil {
				data = append(data, b[:min(len(b), end-len(data))]...)
				data = data[:min(end, (len(data)+4095)&^4095)]
			}
			return nil
		})
	}
	return data[:len(data)&^4095]
})

func eachImage(b *testing.B, f func(b *testing.B, im *image)) {
	data := programs()
	if len(data) < benchSize/2 {
		b.Skip("this machine has too few programs to make a disk of")
	}
	for _, codec := range []tree.Codec{tree.CodecZstd, tree.CodecS2, tree.CodecNone} {
		for chunk := uint32(4 << 10); chunk <= 256<<10; chunk *= 2 {
			im := newImage(b, data, chunk, codec)
			b.Run(fmt.Sprintf("%v/%dK", codec, chunk>>10), func(b *testing.B) { f(b, im) })
		}
	}
}

func ratio(im *image) float64 {
	n := 0
	for _, s := range im.stored[0] {
		n += len(s)
	}
	return float64(len(im.data)) / float64(n)
}

// processor tells how much processor time this process has taken, the kernel's part too.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportProcessor reports processor seconds per GiB of disk, which other work on the machine does not change much.
func reportProcessor(b *testing.B, since time.Duration, bytes int64) {
	b.ReportMetric((processor(b)-since).Seconds()/(float64(bytes)/(1<<30)), "cpu-s/GiB")
}

// BenchmarkStream reads the whole disk in order with Stream.
func BenchmarkStream(b *testing.B) {
	eachImage(b, func(b *testing.B, im *image) {
		d := openDisk(b, im, newInstant(b, im), Options{})
		b.SetBytes(im.shape.Size)
		before := processor(b)
		for b.Loop() {
			if err := d.Stream(context.Background(), 0, im.shape.Size, Sink{Data: func([]byte, int64) error { return nil }}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(ratio(im), "ratio")
		reportProcessor(b, before, int64(b.N)*im.shape.Size)
	})
}

// BenchmarkSequential reads the whole disk in order with one ReadAt after the other.
func BenchmarkSequential(b *testing.B) {
	eachImage(b, func(b *testing.B, im *image) {
		p := make([]byte, 128<<10)
		d := openDisk(b, im, newInstant(b, im), Options{})
		b.SetBytes(int64(len(p)))
		off, before := int64(0), processor(b)
		for b.Loop() {
			if off+int64(len(p)) > im.shape.Size {
				off = 0
			}
			if err := d.ReadAt(context.Background(), p, off); err != nil {
				b.Fatal(err)
			}
			off += int64(len(p))
		}
		reportProcessor(b, before, int64(b.N)*int64(len(p)))
	})
}

// BenchmarkRandom reads 4 KiB anywhere, of a disk that the caches do not hold.
func BenchmarkRandom(b *testing.B) {
	eachImage(b, func(b *testing.B, im *image) {
		d := openDisk(b, im, newInstant(b, im), Options{CacheBytes: 1, DecodedBytes: 1})
		rng := rand.New(rand.NewPCG(1, 1))
		p := make([]byte, 4096)
		for b.Loop() {
			if err := d.ReadAt(context.Background(), p, rng.Int64N(im.shape.Size>>12)<<12); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHit reads 4 KiB anywhere in what is cached: decoded, or only as it is stored.
func BenchmarkHit(b *testing.B) {
	for _, decoded := range []bool{true, false} {
		b.Run(fmt.Sprintf("decoded=%v", decoded), func(b *testing.B) {
			eachImage(b, func(b *testing.B, im *image) {
				const part = 16 << 20
				o := Options{ReadAhead: -1}
				if !decoded {
					o.DecodedBytes = 1
				}
				d := openDisk(b, im, newInstant(b, im), o)
				p := make([]byte, 4096)
				read := func(off int64) {
					if !d.TryReadAt(p, off) {
						if err := d.ReadAt(context.Background(), p, off); err != nil {
							b.Fatal(err)
						}
					}
				}
				for off := int64(0); off < part; off += 4096 {
					read(off)
				}
				rng := rand.New(rand.NewPCG(1, 1))
				for b.Loop() {
					read(rng.Int64N(part>>12) << 12)
				}
			})
		})
	}
}
