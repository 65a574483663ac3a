package remote

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/vdisk/tree"
)

// noise is a disk that does not compress: n chunks of 4 KiB.
func noise(t testing.TB, n int) *image {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, n*4096)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return newImage(t, b, 4096, tree.CodecNone)
}

func mustRead(t testing.TB, d *Disk, im *image, off, n int64) {
	t.Helper()
	p := make([]byte, n)
	if err := d.ReadAt(context.Background(), p, off); err != nil || !bytes.Equal(p, im.data[off:off+n]) {
		t.Fatalf("read %d at %d: %v, or wrong bytes", n, off, err)
	}
}

// A first read knows nothing: the pages of all levels are asked for in the same call as the chunk. The next one knows
// them, and how long the answer will be; zero chunks at the end of a run are left out.
func TestPagesAreAskedForInTheFlightOfTheirChunks(t *testing.T) {
	im := noise(t, 5000)
	clear(im.data[12*4096 : 20*4096])
	im = newImage(t, im.data, 4096, tree.CodecNone)
	n := newNetwork(t, im)
	d := openDisk(t, im, n, Options{ReadAhead: -1})
	mustRead(t, d, im, 4096, 2*4096)
	if got, want := n.take(), [][]asked{{{3, 0, 1, true, 72}, {2, 0, 1, true, -1}, {1, 0, 1, true, -1}, {0, 1, 2, true, -1}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("first read: %v, want %v", got, want)
	}
	mustRead(t, d, im, 8*4096, 8*4096)
	if got, want := n.take(), [][]asked{{{0, 8, 4, true, 4 * 4096}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("second read: %v, want %v", got, want)
	}
	mustRead(t, d, im, 64*4096, 4096)
	if got, want := n.take(), [][]asked{{{1, 1, 1, true, 2304}, {0, 64, 1, true, -1}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("read below another leaf page: %v, want %v", got, want)
	}
	mustRead(t, d, im, 62*4096, 4*4096)
	if got, want := n.take(), [][]asked{{{0, 62, 2, true, 8192}, {0, 65, 1, true, 4096}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("read across leaf pages: %v, want %v", got, want)
	}
}

// What the index knows to be zero is not fetched, neither chunks nor the pages of an empty subtree.
func TestZerosAreNotFetched(t *testing.T) {
	data := make([]byte, 3*4096*4096)
	data[2*4096*4096] = 1
	im := newImage(t, data, 4096, tree.CodecNone)
	n := newNetwork(t, im)
	d := openDisk(t, im, n, Options{})
	mustRead(t, d, im, 2*4096*4096, 512)
	n.take()
	mustRead(t, d, im, 0, 2*4096*4096)
	mustRead(t, d, im, 2*4096*4096+4096, 4096*4096-4096)
	if got := n.take(); got != nil {
		t.Errorf("asked for %v", got)
	}
	holes := int64(0)
	err := d.Stream(context.Background(), 0, im.shape.Size, Sink{
		Data: func([]byte, int64) error { return nil },
		Hole: func(_, n int64) error { holes += n; return nil },
	})
	if err != nil || holes != im.shape.Size-4096 || n.count(&n.fetches) > 6 {
		t.Errorf("stream: %v, %d bytes of holes, %d fetches", err, holes, n.count(&n.fetches))
	}
}

func TestReadersOfOneChunkShareOneFetch(t *testing.T) {
	im := newImage(t, contents(rand.New(rand.NewPCG(1, 1)), 1<<20, 0), 65536, tree.CodecZstdFast)
	n := newNetwork(t, im)
	n.holding(true)
	d := openDisk(t, im, n, Options{ReadAhead: -1})
	var readers sync.WaitGroup
	for i := range int64(16) {
		readers.Go(func() { mustRead(t, d, im, i*4096, 4096) })
	}
	for waiting(d, 0) < 16 {
		runtime.Gosched()
	}
	n.holding(false)
	readers.Wait()
	if got := n.take(); len(got) != 1 || len(got[0]) != 2 {
		t.Errorf("asked for %v", got)
	}
	if s := d.Stats(); s.DecodedBytes != 65536 || s.Misses != 16 {
		t.Errorf("%+v", s)
	}
}

// waiting is how many requests wait for the run of a chunk.
func waiting(d *Disk, chunk int64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, ok := d.runs.get(objectKey(0, chunk)); ok {
		return r.waiters.list.n
	}
	return 0
}

// Bytes that came before their page are held, and go back when the page tells another length or hash.
func TestHeldBytesGoBackWhenThePageTellsOtherwise(t *testing.T) {
	for name, spoil := range map[string]func(f *engine.Fetch){
		"shorter": func(f *engine.Fetch) { f.Total-- },
		"nothing": func(f *engine.Fetch) { f.Total = 0 },
		"other":   func(f *engine.Fetch) { f.Buf[17] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			im := noise(t, 100)
			n := newNetwork(t, im, func(f *engine.Fetch) bool {
				if f.Level == 0 {
					spoil(f)
				}
				return true
			}, honest)
			d := openDisk(t, im, n, Options{ReadAhead: -1})
			for i := range int64(100) {
				mustRead(t, d, im, i*4096, 4096)
			}
			if s := d.Stats(); s.Damaged == 0 || int(s.Damaged) != n.count(&n.rejects) {
				t.Errorf("%d damaged answers, %d rejects", s.Damaged, n.rejects)
			}
		})
	}
}

// A stream's window grows while it is read, nothing that was read ahead is wasted, and reads find it there. Three streams
// at once are three streams.
func TestSequentialReadsAreReadAhead(t *testing.T) {
	im := noise(t, 3072)
	n := newNetwork(t, im)
	d := openDisk(t, im, n, Options{})
	const streams, length = 3, 4 << 20
	for off := int64(0); off < length; off += 16 << 10 {
		for s := range int64(streams) {
			if p := make([]byte, 16<<10); s == 0 || !d.TryReadAt(p, s*length+off) {
				mustRead(t, d, im, s*length+off, 16<<10)
			}
		}
	}
	s := d.Stats()
	if s.AheadUsed < streams*length/2 || s.AheadWasted != 0 || s.AheadBytes-s.AheadUsed > 0 {
		t.Errorf("%d bytes read ahead, %d used, %d wasted", s.AheadBytes, s.AheadUsed, s.AheadWasted)
	}
	if s.Fetches > streams*length/maxRun*2 {
		t.Errorf("%d fetches", s.Fetches)
	}
}

func TestRandomReadsAreNotReadAhead(t *testing.T) {
	im := noise(t, 2048)
	d := openDisk(t, im, newNetwork(t, im), Options{})
	rng := rand.New(rand.NewPCG(2, 2))
	for range 300 {
		mustRead(t, d, im, rng.Int64N(2048)*4096, 4096)
	}
	if s := d.Stats(); s.AheadBytes > 1<<20 {
		t.Errorf("%d bytes read ahead for %d of demand", s.AheadBytes, s.DiskBytes)
	}
}

func TestReadAheadThatSomebodyWaitsForIsUrged(t *testing.T) {
	im := noise(t, 200)
	n := newNetwork(t, im)
	d := openDisk(t, im, n, Options{ReadAhead: -1})
	n.holding(true)
	if err := d.Prefetch(context.Background(), 0, 128<<10); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		mustRead(t, d, im, 8192, 4096)
		close(done)
	}()
	for n.count(&n.urged) < 3 { // two pages and the run
		runtime.Gosched()
	}
	n.holding(false)
	<-done
	for _, call := range n.take() {
		for _, a := range call {
			if a.demand {
				t.Errorf("%v was asked for by demand", a)
			}
		}
	}
}

// With room for one run, many readers that need several each come to an end, and no more is under way than allowed.
func TestReadersWaitForRoomAndHoldNone(t *testing.T) {
	im := newImage(t, contents(rand.New(rand.NewPCG(9, 9)), 8<<20, 0), 4096, tree.CodecS2)
	n := newNetwork(t, im)
	d := openDisk(t, im, n, Options{FlightBytes: 1, CacheBytes: 1, DecodedBytes: 1, IndexBytes: 1})
	var readers sync.WaitGroup
	for i := range int64(8) {
		readers.Go(func() { mustRead(t, d, im, i<<20, 1<<20) })
		readers.Go(func() { streamWhole(t, d, im) })
	}
	readers.Wait()
	checkIdle(t, d)
	if most := n.count(&n.most); most > 200 {
		t.Errorf("%d fetches at once", most)
	}
}

// Whoever made the tree made it wrong: the hash is right and no server has anything better, so nobody is blamed.
func TestATreeThatWasMadeWrongFailsTheRead(t *testing.T) {
	im := newImage(t, contents(rand.New(rand.NewPCG(1, 9)), 3*4096, 0), 4096, tree.CodecNone)
	im.stored[0][1] = []byte("not a frame")
	entries, err := tree.ParsePage(nil, im.stored[1][0], im.shape, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	entries[1] = tree.Entry{Kind: tree.Zstd, Length: 11, Hash: tree.Sum(im.stored[0][1])}
	im.stored[1][0] = tree.AppendPage(nil, entries)
	im.root = im.shape.Root(im.stored[1][0], im.boot)
	n := newNetwork(t, im)
	d := openDisk(t, im, n, Options{})
	p := make([]byte, 100)
	for range 2 {
		if err := d.ReadAt(context.Background(), p, 5000); !errors.Is(err, tree.ErrUndecodable) {
			t.Error(err)
		}
	}
	if err := d.Stream(context.Background(), 0, im.shape.Size, Sink{Data: func([]byte, int64) error { return nil }}); !errors.Is(err, tree.ErrUndecodable) {
		t.Error(err)
	}
	im.stored[1][0] = bytes.Repeat([]byte{0xff}, len(im.stored[1][0]))
	im.root = im.shape.Root(im.stored[1][0], im.boot)
	var bad *tree.PageError
	if err := openDisk(t, im, n, Options{}).ReadAt(context.Background(), p, 0); !errors.As(err, &bad) {
		t.Error(err)
	}
	if n.count(&n.rejects) > 0 {
		t.Error("a server was blamed")
	}
}

// Memory that changes under the cache does not become wrong bytes of the disk.
func TestACachedChunkThatChangedInMemoryIsFetchedAgain(t *testing.T) {
	im := newImage(t, bytes.Repeat([]byte("spate"), 8192), 4096, tree.CodecS2)
	n := newNetwork(t, im)
	d := openDisk(t, im, n, Options{ReadAhead: -1})
	// A chunk that a worker has kept decoded does not need its stored bytes; another one will do then.
	for chunk := int64(0); chunk < 8; chunk++ {
		mustRead(t, d, im, chunk*4096, 4096)
		before := n.count(&n.fetches)
		d.mu.Lock()
		kept := d.decoded.find(chunk) != nil
		d.stored.find(chunk).stored()[3] ^= 1
		d.mu.Unlock()
		mustRead(t, d, im, chunk*4096, 4096)
		if kept {
			continue
		}
		if n.count(&n.fetches) != before+1 {
			t.Error("it was not fetched again")
		}
		return
	}
	t.Error("every chunk was kept decoded after one read")
}

// The error of a sink ends the stream, and what was under way is let go.
func TestStreamEndsWithItsSink(t *testing.T) {
	im := noise(t, 2000)
	n := newNetwork(t, im)
	d := openDisk(t, im, n, Options{})
	full := errors.New("disk full")
	count := 0
	err := d.Stream(context.Background(), 0, im.shape.Size, Sink{Data: func([]byte, int64) error {
		if count++; count == 3 {
			return full
		}
		return nil
	}})
	if !errors.Is(err, full) {
		t.Error(err)
	}
	n.holding(true)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() {
		result <- d.Stream(ctx, 0, im.shape.Size, Sink{Data: func([]byte, int64) error { return nil }})
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	checkIdle(t, d)
}
