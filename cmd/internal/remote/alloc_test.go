//go:build !race

package remote

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

// Reads of what is there make no garbage, whichever cache has it, nor do reads that fetch.
func TestReadsDoNotAllocate(t *testing.T) {
	data := contents(rand.New(rand.NewPCG(1, 1)), 16<<20, 0.1)
	clear(data[1<<20 : 2<<20])
	im := newImage(t, data, 16384, tree.CodecZstdFast)
	ctx := context.Background()
	p := make([]byte, 4096)
	small := openDisk(t, im, newInstant(t, im), Options{DecodedBytes: 1, CacheBytes: 4 << 20, ReadAhead: -1})
	large := openDisk(t, im, newInstant(t, im), Options{})
	for off := int64(0); off < im.shape.Size; off += 4096 {
		for _, d := range []*Disk{small, large} {
			if err := d.ReadAt(ctx, p, off); err != nil {
				t.Fatal(err)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	read := func(d *Disk, from, length int64) func() {
		return func() {
			if err := d.ReadAt(ctx, p, from+rng.Int64N(length>>12)<<12); err != nil {
				t.Fatal(err)
			}
		}
	}
	try := func(d *Disk, from, length int64) func() {
		return func() {
			if !d.TryReadAt(p, from+rng.Int64N(length>>12)<<12) {
				t.Fatal("not there")
			}
		}
	}
	for name, f := range map[string]func(){
		"hit":                     read(large, 0, im.shape.Size),
		"hit at once":             try(large, 0, im.shape.Size),
		"zeros":                   try(small, 1<<20, 1<<20),
		"stored hit":              try(small, 15<<20, 1<<20),
		"miss, evicting":          read(small, 0, im.shape.Size),
		"hit of a stream's track": try(large, 0, 1<<20),
	} {
		if got := testing.AllocsPerRun(2000, f); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
