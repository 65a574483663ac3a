package vdisktest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/spate-project/spate/vdisk"
	"github.com/spate-project/spate/vdisk/tree"
)

// Disk makes a disk for tests from a seed: runs of zeros, of text and of noise.
func Disk(seed uint64, size int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for at := 0; at < size; {
		n := min(1+rng.IntN(100<<10), size-at)
		switch kind := rng.IntN(3); kind {
		case 1, 2:
			for i := range n {
				b[at+i] = "things that are alike"[(at+i)%21]
				if kind == 2 {
					b[at+i] = byte(rng.Uint32())
				}
			}
		}
		at += n
	}
	return b
}

// TestImage checks that an implementation keeps the contract of Image. open must give an image of the disk it
// gets, and is called several times; damage, which may be nil, must make the stored bytes of an object wrong.
func TestImage(t *testing.T, open func(t *testing.T, disk []byte, chunk uint32) Image, damage func(i Image, level int, index int64)) {
	for _, chunk := range []uint32{tree.MinChunk, 64 << 10} {
		for _, size := range []int{512, 64 * 4096, 300<<10 + 512, 2 << 20} {
			t.Run(fmt.Sprintf("%d in %d", size, chunk), func(t *testing.T) {
				disk := Disk(uint64(size), size)
				i := open(t, disk, chunk)
				testContent(t, i, disk)
				testAnswers(t, i)
				testRange(t, i)
				testConcurrent(t, i)
				if damage != nil {
					testDamage(t, i, damage)
				}
			})
		}
	}
}

// object reads the stored bytes of one object.
func object(i Image, level int, index int64) ([]byte, error) {
	p := make([]byte, max(int(i.Shape().ChunkSize), tree.MaxPage))
	n, total, err := i.ReadAnswer(p, level, index, 1, 0)
	if err == nil && int64(n) != total {
		err = fmt.Errorf("%d of %d bytes", n, total)
	}
	return p[:n], err
}

// pageEntries reads the pages of one level and checks them against their parents' entries, and gives the entries
// they hold; above are those of the level above, nil for the top page.
func pageEntries(i Image, level int, above []tree.Entry) ([]tree.Entry, error) {
	s := i.Shape()
	var boot tree.Hash
	if b, ok := i.(interface{ Boot() vdisk.BootInfo }); ok {
		boot = b.Boot().Digest
	}
	var all []tree.Entry
	for n := range s.Count(level) {
		if above != nil && above[n].Kind == tree.Zero {
			all = append(all, make([]tree.Entry, s.Entries(level, n))...)
			continue
		}
		page, err := object(i, level, n)
		if err != nil {
			return nil, err
		}
		if above == nil && s.Root(page, boot) != i.ID().Root || above != nil && !tree.Verify(above[n], page) {
			return nil, fmt.Errorf("page %d of level %d: %w", n, level, tree.ErrMismatch)
		}
		if all, err = tree.ParsePage(all, page, s, level, n); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Content reads the whole disk of an image as a target does, and checks everything.
func Content(i Image) ([]byte, error) {
	var all []tree.Entry
	var err error
	for level := i.Shape().Levels(); level >= 1; level-- {
		if all, err = pageEntries(i, level, all); err != nil {
			return nil, err
		}
	}
	d, err := tree.NewDecoder()
	if err != nil {
		return nil, err
	}
	defer d.Close()
	disk := make([]byte, i.Shape().Size)
	rest := disk
	for n, e := range all {
		stored, err := object(i, 0, int64(n))
		if err != nil {
			return nil, err
		}
		length := i.Shape().ChunkLength(int64(n))
		if err := d.Decode(rest[:length], e, stored); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", n, err)
		}
		rest = rest[length:]
	}
	return disk, nil
}

func testContent(t *testing.T, i Image, disk []byte) {
	t.Helper()
	if got, err := Content(i); err != nil || !bytes.Equal(got, disk) {
		t.Fatalf("the disk comes back otherwise, error %v", err)
	}
	for level := range i.Shape().Levels() + 1 {
		for n := range i.Shape().Count(level) {
			if err := i.Check(level, n); err != nil {
				t.Errorf("check of a good object: %v", err)
			}
		}
	}
}

// An answer is the concatenation of stored bytes, wherever it is cut.
func testAnswers(t *testing.T, i Image) {
	t.Helper()
	rng := rand.New(rand.NewPCG(2, 2))
	for level := range i.Shape().Levels() + 1 {
		count := i.Shape().Count(level)
		for range 50 {
			first := rng.Int64N(count)
			n := 1 + rng.Int64N(min(count-first, 100))
			var whole []byte
			for k := first; k < first+n; k++ {
				b, err := object(i, level, k)
				if err != nil {
					t.Fatal(err)
				}
				whole = append(whole, b...)
			}
			from := rng.Int64N(int64(len(whole)) + 2)
			p := make([]byte, rng.IntN(len(whole)+10))
			got, total, err := i.ReadAnswer(p, level, first, int(n), from)
			want := whole[min(int(from), len(whole)):]
			want = want[:min(len(want), len(p))]
			if err != nil || total != int64(len(whole)) || !bytes.Equal(p[:got], want) {
				t.Fatalf("level %d, %d from %d, bytes from %d: %d of %d, want %d of %d, error %v",
					level, n, first, from, got, total, len(want), len(whole), err)
			}
		}
	}
}

func testRange(t *testing.T, i Image) {
	t.Helper()
	top := i.Shape().Levels()
	for _, c := range []struct {
		level       int
		first, from int64
		count       int
	}{
		{-1, 0, 0, 1}, {top + 1, 0, 0, 1}, {top, 1, 0, 1}, {top, 0, 0, 2}, {0, -1, 0, 1}, {0, 0, -1, 1}, {0, 0, 0, 0},
		{0, i.Shape().Chunks(), 0, 1}, {0, 1 << 62, 0, 1 << 62},
	} {
		if n, _, err := i.ReadAnswer(make([]byte, 10), c.level, c.first, c.count, c.from); n != 0 || !errors.Is(err, vdisk.ErrRange) {
			t.Errorf("%+v: %d bytes, error %v", c, n, err)
		}
	}
	if err := i.Check(top+1, 0); !errors.Is(err, vdisk.ErrRange) {
		t.Errorf("check of no object: %v", err)
	}
}

func testConcurrent(t *testing.T, i Image) {
	t.Helper()
	want, _, err := i.ReadAnswer(make([]byte, 1<<20), 0, 0, int(min(64, i.Shape().Chunks())), 0)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			p := make([]byte, 1<<20)
			for range 20 {
				if n, _, err := i.ReadAnswer(p, 0, 0, int(min(64, i.Shape().Chunks())), 0); n != want || err != nil {
					t.Errorf("%d bytes, want %d, error %v", n, want, err)
				}
				if err := i.Check(0, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// A damaged object is given until a check has found it, and refused from then on; its neighbours are given.
func testDamage(t *testing.T, i Image, damage func(i Image, level int, index int64)) {
	t.Helper()
	bad := int64(-1)
	for n := range i.Shape().Chunks() {
		if b, err := object(i, 0, n); err == nil && len(b) > 0 {
			bad = n
		}
	}
	if bad < 0 {
		return
	}
	damage(i, 0, bad)
	if _, err := Content(i); !errors.Is(err, tree.ErrMismatch) {
		t.Errorf("wrong bytes are accepted: %v", err)
	}
	var damaged *vdisk.DamagedError
	if err := i.Check(0, bad); !errors.As(err, &damaged) || damaged.Level != 0 || damaged.Index != bad {
		t.Errorf("check: %v", err)
	}
	first := max(0, bad-2)
	if _, _, err := i.ReadAnswer(make([]byte, 10), 0, first, int(bad-first)+1, 0); !errors.As(err, &damaged) || damaged.Index != bad {
		t.Errorf("read of a fenced chunk: %v", err)
	}
	if _, err := object(i, 1, 0); err != nil {
		t.Errorf("another object: %v", err)
	}
}
