package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/vdisk/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ interface {
	blockdev.Device
	blockdev.TryReader
	blockdev.Mapper
	blockdev.Prefetcher
} = (*Disk)(nil)

// small makes every bound bind: caches of a few chunks, little room.
var small = Options{CacheBytes: 1, DecodedBytes: 1, IndexBytes: 1, FlightBytes: 200 << 10, ReadAhead: 64 << 10, Workers: 2}

// worlds are the disks that the tests read: one chunk, short ends, several levels, zeros in every amount.
var worlds = []struct {
	size  int
	chunk uint32
	zeros float64
	codec tree.Codec
}{
	{512, 4096, 0, tree.CodecNone},
	{4096, 4096, 1, tree.CodecZstd},
	{10*4096 + 512, 4096, 0.3, tree.CodecZstdFast},
	{64 * 4096, 4096, 0.5, tree.CodecS2},
	{65*4096 + 1024, 4096, 0.1, tree.CodecZstdFast},
	{4096*4096 + 4608, 4096, 0.9, tree.CodecS2}, // three levels
	{4096*4096 + 4096, 4096, 1, tree.CodecNone}, // three levels of nothing
	{2<<20 + 512, 16384, 0.3, tree.CodecZstdFast},
	{3<<20 + 512, 65536, 0.2, tree.CodecS2},
	{3<<20 + 2560, 1 << 20, 0.5, tree.CodecZstdFast},
}

// flip damages one bit of some answers.
func flip(rng *rand.Rand, part float64) answers {
	return func(f *engine.Fetch) bool {
		if f.Total > 0 && rng.Float64() < part {
			f.Buf[rng.IntN(f.Total)] ^= 1 << rng.IntN(8)
		}
		return true
	}
}

// wrongLength gives answers of another length.
func wrongLength(rng *rand.Rand, part float64) answers {
	return func(f *engine.Fetch) bool {
		if rng.Float64() < part {
			f.Total = rng.IntN(len(f.Buf) + 1)
		}
		return true
	}
}

// without has no good copy of some fetches.
func without(rng *rand.Rand, part float64) answers {
	return func(*engine.Fetch) bool { return rng.Float64() >= part }
}

// Whatever servers do, as long as one is honest: every read gives the bytes of the disk, in every way of reading, with
// many readers at once and caches that hold next to nothing.
func TestEveryReadGivesTheBytesOfTheDisk(t *testing.T) {
	for i, w := range worlds {
		for _, o := range []Options{{}, small} {
			t.Run(fmt.Sprintf("%d/%d/flight=%d", w.size, w.chunk, o.FlightBytes), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(i), 7))
				im := newImage(t, contents(rng, w.size, w.zeros), w.chunk, w.codec)
				n := newNetwork(t, im, flip(rng, 0.3), honest, wrongLength(rng, 0.3), without(rng, 0.3))
				d := openDisk(t, im, n, o)
				var readers sync.WaitGroup
				for r := range 6 {
					readers.Go(func() { readRandomly(t, d, im, uint64(r)) })
				}
				readers.Go(func() { streamWhole(t, d, im) })
				readers.Go(func() { mapWhole(t, d, im) })
				readers.Wait()
				checkIdle(t, d)
			})
		}
	}
}

// The root of a version with boot files depends on their digest: without the right one no page can be the top page.
func TestTheDigestOfTheBootFilesIsAPartOfTheRoot(t *testing.T) {
	im := newImage(t, bytes.Repeat([]byte("spate"), 8192), 4096, tree.CodecS2)
	im.bootedWith(tree.Sum([]byte("kernel")))
	p := make([]byte, 5)
	if err := openDisk(t, im, newNetwork(t, im), Options{}).ReadAt(context.Background(), p, 10); err != nil || string(p) != "spate" {
		t.Errorf("%q, %v", p, err)
	}
	im.boot = tree.Sum([]byte("other kernel"))
	if err := openDisk(t, im, newNetwork(t, im), Options{}).ReadAt(context.Background(), p, 10); err == nil {
		t.Error("the digest of another kernel is accepted")
	}
}

func readRandomly(t *testing.T, d *Disk, im *image, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 9))
	size := im.shape.Size
	p := make([]byte, 1<<20)
	next := int64(0)
	for range 100 {
		off := rng.Int64N(size)
		if rng.IntN(3) > 0 {
			off = next // sequentially
		}
		n := min(size-off, 1+rng.Int64N(1<<(1+rng.IntN(19))))
		if next = off + n; next >= size {
			next = 0
		}
		q := p[:n]
		q[0] = ^im.data[off]
		if rng.IntN(2) == 0 || !d.TryReadAt(q, off) {
			if err := d.ReadAt(context.Background(), q, off); err != nil {
				t.Errorf("read %d at %d: %v", n, off, err)
				return
			}
		}
		if !bytes.Equal(q, im.data[off:off+n]) {
			t.Errorf("wrong bytes in %d at %d", n, off)
			return
		}
		if rng.IntN(20) == 0 {
			if err := d.Prefetch(context.Background(), off, n); err != nil {
				t.Error(err)
			}
		}
	}
}

func streamWhole(t *testing.T, d *Disk, im *image) {
	for _, from := range []int64{0, min(im.shape.Size-1, 3<<10), im.shape.Size / 2} {
		at := from
		check := func(off, n int64, p []byte) error {
			if off != at {
				return fmt.Errorf("a piece at %d, want %d", off, at)
			}
			at += n
			if p == nil && !tree.IsZero(im.data[off:off+n]) {
				return fmt.Errorf("a hole of %d at %d", n, off)
			}
			if p != nil && !bytes.Equal(p, im.data[off:off+n]) {
				return fmt.Errorf("wrong bytes in %d at %d", n, off)
			}
			return nil
		}
		sink := Sink{Data: func(p []byte, off int64) error { return check(off, int64(len(p)), p) }}
		if from == 0 {
			sink.Hole = func(off, n int64) error { return check(off, n, nil) }
		}
		if err := d.Stream(context.Background(), from, im.shape.Size, sink); err != nil || at != im.shape.Size {
			t.Errorf("stream from %d ended at %d: %v", from, at, err)
		}
	}
}

// Extents cover the disk, and what they call zero is zero; whole chunks of zeros are never called data.
func mapWhole(t *testing.T, d *Disk, im *image) {
	chunk := int64(im.shape.ChunkSize)
	for off := int64(0); off < im.shape.Size; {
		n, zero, err := d.Extent(context.Background(), off, im.shape.Size-off)
		if err != nil || n < 1 || n > im.shape.Size-off {
			t.Errorf("extent at %d: %d, %v", off, n, err)
			return
		}
		for c := off; c < off+n; c += chunk {
			if tree.IsZero(im.data[c:min(c+chunk, im.shape.Size)]) != zero {
				t.Errorf("extent of %d at %d says zero=%v, which chunk %d is not", n, off, zero, c/chunk)
				return
			}
		}
		off += n
	}
}

// checkIdle waits until nothing is under way and looks for what was not given back.
func checkIdle(t *testing.T, d *Disk) {
	t.Helper()
	n := d.fetcher.(*network)
	n.stop()
	d.mu.Lock()
	for d.queue.n > 0 || d.rejects.n > 0 || d.resting < d.options.Workers {
		d.mu.Unlock()
		runtime.Gosched()
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	if d.liveRuns != 0 || d.livePage != 0 || d.flight != 0 || d.runs.n != 0 || d.reads.n != 0 || d.active != 0 || !d.room.empty() || !d.farRoom.empty() {
		t.Errorf("at rest: %d runs, %d page reads, %d bytes under way, %d and %d in tables, %d readers",
			d.liveRuns, d.livePage, d.flight, d.runs.n, d.reads.n, d.active)
	}
	for p := d.index.recent.first; p != nil; p = p.list.next {
		if p.users != 0 {
			t.Errorf("page %d of level %d still has %d users", p.index, p.level, p.users)
		}
	}
	for i := range d.decoded.slots {
		if s := &d.decoded.slots[i]; s.filling || s.pins.Load() != 0 {
			t.Errorf("a slot is filling or pinned")
		}
	}
	for i := range d.stored.segments {
		if p := d.stored.segments[i].pins.Load(); p != 0 {
			t.Errorf("a segment has %d pins", p)
		}
	}
}

func TestOpenRefusesADiskThatIsDescribedWrong(t *testing.T) {
	im := newImage(t, make([]byte, 1<<20), 4096, tree.CodecNone)
	for _, change := range []func(*image) *image{
		func(i *image) *image { i.shape.Size = 0; return i },
		func(i *image) *image { i.shape.SectorSize = 100; return i },
	} {
		c := *im
		w := change(&c).disk()
		if d, err := Open(w, nil, Options{}); err == nil {
			d.Close()
			t.Errorf("%+v is accepted", w)
		}
	}
	w := im.disk()
	w.Levels++
	if _, err := Open(w, nil, Options{}); err == nil || !strings.Contains(err.Error(), `"image" version 3`) {
		t.Error(err)
	}
}

func TestAChunkThatNoServerHasFailsAloneAndIsNamed(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	im := newImage(t, contents(rng, 40*4096, 0), 4096, tree.CodecNone)
	bad := func(chunks ...int64) answers {
		return func(f *engine.Fetch) bool {
			for _, c := range chunks {
				if f.Level == 0 && c >= f.First && c < f.First+int64(f.Count) {
					return false
				}
			}
			return true
		}
	}
	// Chunk 17 is bad everywhere, 5 and 30 are each bad on one server.
	n := newNetwork(t, im, bad(17, 5), bad(17, 30))
	d := openDisk(t, im, n, Options{})
	ctx := context.Background()
	p := make([]byte, 17*4096)
	for _, off := range []int64{0, 18 * 4096} {
		if err := d.ReadAt(ctx, p, off); err != nil || !bytes.Equal(p, im.data[off:][:len(p)]) {
			t.Errorf("17 chunks at %d: %v", off, err)
		}
	}
	for _, err := range []error{
		d.ReadAt(ctx, p, 4096),
		d.ReadAt(ctx, p[:1], 17*4096+100),
		d.Stream(ctx, 0, im.shape.Size, Sink{Data: func([]byte, int64) error { return nil }}),
	} {
		var re *ReadError
		if !errors.As(err, &re) || !errors.Is(err, engine.ErrNoGoodCopy) || re.Index != 17 ||
			!strings.Contains(err.Error(), `chunk 17 of "image" version 3`) {
			t.Errorf("got %v", err)
		}
	}
}

// A page that nobody has fails what lies below it, with a name, and nothing else.
func TestAPageThatNoServerHasFailsOnlyWhatIsBelow(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	im := newImage(t, contents(rng, 200*4096, 0), 4096, tree.CodecNone)
	n := newNetwork(t, im, func(f *engine.Fetch) bool {
		if f.Level == 1 && f.First == 1 {
			f.Buf[0] ^= 1
		}
		return true
	})
	d := openDisk(t, im, n, Options{ReadAhead: -1})
	p := make([]byte, 4096)
	err := d.ReadAt(context.Background(), p, 100*4096)
	var re *ReadError
	if !errors.As(err, &re) || re.Level != 1 || re.Index != 1 || len(re.Servers) != 1 {
		t.Errorf("below the page: %v", err)
	}
	if err := d.ReadAt(context.Background(), p, 150*4096); err != nil || !bytes.Equal(p, im.data[150*4096:][:4096]) {
		t.Errorf("beside the page: %v", err)
	}
}

// A disk that nobody could serve anyway fails reads with the reason, and serves again when somebody can.
func TestAnErrorOfTheNetworkIsNotKept(t *testing.T) {
	im := newImage(t, contents(rand.New(rand.NewPCG(5, 5)), 64<<10, 0), 4096, tree.CodecNone)
	fail := true
	n := newNetwork(t, im, func(*engine.Fetch) bool { return !fail })
	d := openDisk(t, im, n, Options{})
	p := make([]byte, 4096)
	if err := d.ReadAt(context.Background(), p, 0); !errors.Is(err, engine.ErrNoGoodCopy) {
		t.Fatal(err)
	}
	n.mu.Lock()
	fail = false
	n.mu.Unlock()
	if err := d.ReadAt(context.Background(), p, 0); err != nil {
		t.Fatal(err)
	}
}

// The end of a context ends the wait at once; the fetch goes on and serves the next reader.
func TestContextEndsTheWaitAndNotTheFetch(t *testing.T) {
	im := newImage(t, contents(rand.New(rand.NewPCG(6, 6)), 64<<10, 0), 4096, tree.CodecNone)
	n := newNetwork(t, im)
	n.holding(true)
	d := openDisk(t, im, n, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	p := make([]byte, 4096)
	result := make(chan error)
	go func() { result <- d.ReadAt(ctx, p, 0) }()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	before := n.count(&n.fetches)
	go func() { result <- d.ReadAt(context.Background(), p, 0) }()
	n.holding(false)
	if err := <-result; err != nil || !bytes.Equal(p, im.data[:4096]) {
		t.Fatal(err)
	}
	if after := n.count(&n.fetches); after != before || before != 2 {
		t.Errorf("%d fetches at first and %d then, want one page and one chunk", before, after)
	}
}

func TestCloseEndsReadsThatWait(t *testing.T) {
	im := newImage(t, contents(rand.New(rand.NewPCG(8, 8)), 64<<10, 0), 4096, tree.CodecNone)
	n := newNetwork(t, im)
	n.holding(true)
	d := openDisk(t, im, n, Options{})
	result := make(chan error)
	for range 3 {
		go func() { result <- d.ReadAt(context.Background(), make([]byte, 100), 0) }()
	}
	for n.count(&n.fetches) == 0 {
		runtime.Gosched()
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-result; !errors.Is(err, blockdev.ErrClosed) {
			t.Error(err)
		}
	}
	n.holding(false) // what comes now is dropped
	if err := d.ReadAt(context.Background(), make([]byte, 1), 0); !errors.Is(err, blockdev.ErrClosed) {
		t.Error(err)
	}
}
