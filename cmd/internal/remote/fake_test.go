package remote

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk/tree"
)

var _ Fetcher = (*stream.Client)(nil)

var (
	_ stream.Receiver = (*run)(nil)
	_ stream.Receiver = (*pageRead)(nil)
)

// image is a disk with its tree, all in memory.
type image struct {
	shape  tree.Shape
	root   tree.Hash
	boot   tree.Hash // what its version is booted with; zero: nothing
	data   []byte
	stored [][][]byte // by level and index; nil where zero
}

func newImage(t testing.TB, data []byte, chunk uint32, codec tree.Codec) *image {
	t.Helper()
	im := &image{shape: tree.Shape{Size: int64(len(data)), SectorSize: 512, ChunkSize: chunk}, data: data}
	if err := im.shape.Validate(); err != nil {
		t.Fatal(err)
	}
	for level := range im.shape.Levels() + 1 {
		im.stored = append(im.stored, make([][]byte, im.shape.Count(level)))
	}
	enc, err := tree.NewEncoder(codec)
	if err != nil {
		t.Fatal(err)
	}
	b := tree.NewBuilder(func(level int, index int64, page []byte) error {
		im.stored[level][index] = bytes.Clone(page)
		return nil
	})
	for i := range im.shape.Chunks() {
		part := data[i*int64(chunk):][:im.shape.ChunkLength(i)]
		e, stored := enc.Encode(nil, part)
		im.stored[0][i] = stored
		if err := b.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	top, _, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	im.root = im.shape.Root(top, im.boot)
	return im
}

func (im *image) disk() wire.Disk {
	return wire.Disk{
		Name: "image", Number: 3, Content: wire.Content{Root: im.root, Timestamp: 1},
		Size: im.shape.Size, SectorSize: im.shape.SectorSize, ChunkSize: im.shape.ChunkSize, Levels: uint8(im.shape.Levels()),
		Boot: im.boot,
	}
}

// bootedWith makes the image one of a version with boot files of that digest.
func (im *image) bootedWith(digest tree.Hash) {
	im.boot = digest
	im.root = im.shape.Root(im.stored[im.shape.Levels()][0], digest)
}

// answer puts the stored bytes of a fetch into its buffer.
func (im *image) answer(f *engine.Fetch) {
	f.Total, f.Err, f.Servers = 0, nil, f.Servers[:0]
	for i := range int64(f.Count) {
		f.Total += copy(f.Buf[f.Total:], im.stored[f.Level][f.First+i])
	}
}

// contents makes a disk of n bytes: text that compresses, noise, and zeros in runs of many lengths.
func contents(rng *rand.Rand, n int, zeros float64) []byte {
	b := make([]byte, n)
	for off := 0; off < n; {
		part := b[off:min(n, off+1+rng.IntN(1<<(4+rng.IntN(15))))]
		off += len(part)
		switch {
		case rng.Float64() < zeros:
		case rng.IntN(3) == 0:
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
		default:
			for i := range part {
				part[i] = "spate of words, "[(i*i+off)%16]
			}
		}
	}
	return b
}

// answers tells a network what one server makes of a fetch, after the right answer was put in. False: it has no good copy.
type answers func(f *engine.Fetch) bool

// network is a Fetcher with servers in memory. A goroutine answers what is pending in any order.
type network struct {
	image   *image
	servers []answers

	mu      sync.Mutex
	some    sync.Cond
	rng     *rand.Rand                          // guarded by mu
	pending []*engine.Fetch                     // guarded by mu
	asked   map[*engine.Fetch]bool              // guarded by mu
	avoid   map[*engine.Fetch][]engine.ServerID // guarded by mu
	stopped bool                                // guarded by mu
	hold    bool                                // guarded by mu: nothing is answered
	inOrder bool
	done    chan struct{}

	calls                   [][]asked // guarded by mu: what each call of Fetch asked for
	fetches, rejects, urged int       // guarded by mu
	most                    int       // guarded by mu: fetches at once
}

// asked is what a fetch asked for.
type asked struct {
	level  uint8
	first  int64
	count  int
	demand bool
	expect int
}

func honest(*engine.Fetch) bool { return true }

func newNetwork(t testing.TB, im *image, servers ...answers) *network {
	n := &network{
		image: im, servers: servers, rng: rand.New(rand.NewPCG(1, uint64(im.shape.Size))),
		asked: map[*engine.Fetch]bool{}, avoid: map[*engine.Fetch][]engine.ServerID{}, done: make(chan struct{}),
	}
	if len(servers) == 0 {
		n.servers = []answers{honest}
	}
	n.some.L = &n.mu
	go n.run() // ends when stopped; the cleanup waits for it
	t.Cleanup(n.stop)
	return n
}

func (n *network) stop() {
	n.mu.Lock()
	n.stopped, n.hold = true, false
	n.some.Broadcast()
	n.mu.Unlock()
	<-n.done
}

func (n *network) Fetch(list ...*engine.Fetch) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var call []asked
	for i, f := range list {
		if n.stopped {
			return i, engine.ErrClosed
		}
		n.fetches++
		call = append(call, asked{f.Level, f.First, f.Count, f.Demand, f.Expect})
		n.avoid[f] = nil
		n.takeLocked(f)
	}
	n.calls = append(n.calls, call)
	return len(list), nil
}

// take gives what was asked for since the last time.
func (n *network) take() [][]asked {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := n.calls
	n.calls = nil
	return calls
}

func (n *network) takeLocked(f *engine.Fetch) {
	if n.asked[f] {
		panic("a fetch is handed in twice")
	}
	n.asked[f] = true
	n.pending = append(n.pending, f)
	n.most = max(n.most, len(n.asked))
	if len(n.asked) > engine.MaxFetches {
		panic("too many fetches")
	}
	n.some.Signal()
}

func (n *network) Urge(f *engine.Fetch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.urged++
	if n.asked[f] {
		f.Demand = true
	}
}

func (n *network) Reject(f *engine.Fetch, level uint8, index int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return engine.ErrClosed
	}
	if level != f.Level || index < f.First || index >= f.First+int64(f.Count) {
		panic("a reject names an object that the fetch does not have")
	}
	n.rejects++
	n.avoid[f] = append(n.avoid[f], f.Servers...)
	n.takeLocked(f)
	return nil
}

func (n *network) run() {
	defer close(n.done)
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		for !n.stopped && (n.hold || len(n.pending) == 0) {
			n.some.Wait()
		}
		if len(n.pending) == 0 {
			return
		}
		i := 0
		if !n.inOrder {
			i = n.rng.IntN(len(n.pending))
		}
		f := n.pending[i]
		n.pending = slices.Delete(n.pending, i, i+1)
		n.serveLocked(f)
		delete(n.asked, f)
		n.mu.Unlock()
		f.Owner.(stream.Receiver).Fetched(f)
		n.mu.Lock()
	}
}

// serveLocked has a server that f does not avoid answer it.
func (n *network) serveLocked(f *engine.Fetch) {
	first := n.rng.IntN(len(n.servers))
	for k := range n.servers {
		id := engine.ServerID{byte((first+k)%len(n.servers) + 1)}
		if slices.Contains(n.avoid[f], id) {
			continue
		}
		clear(f.Buf)
		n.image.answer(f)
		if n.servers[id[0]-1](f) {
			f.Servers = append(f.Servers, id)
			return
		}
	}
	f.Total, f.Err = 0, engine.ErrNoGoodCopy
	if n.stopped {
		f.Err = engine.ErrClosed
	}
}

// holding keeps everything unanswered, or lets it go on.
func (n *network) holding(hold bool) {
	n.mu.Lock()
	n.hold = hold
	n.some.Broadcast()
	n.mu.Unlock()
}

func (n *network) count(what *int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return *what
}

// instant is a Fetcher whose one goroutine answers at once and in order, as fast as it can copy.
type instant struct {
	image *image
	todo  chan *engine.Fetch
}

func newInstant(t testing.TB, im *image) *instant {
	n := &instant{image: im, todo: make(chan *engine.Fetch, engine.MaxFetches)}
	var done sync.WaitGroup
	done.Go(func() {
		for f := range n.todo {
			im.answer(f)
			f.Owner.(stream.Receiver).Fetched(f)
		}
	})
	t.Cleanup(func() {
		close(n.todo)
		done.Wait()
	})
	return n
}

func (n *instant) Fetch(list ...*engine.Fetch) (int, error) {
	for _, f := range list {
		n.todo <- f
	}
	return len(list), nil
}
func (n *instant) Urge(*engine.Fetch) {}
func (n *instant) Reject(f *engine.Fetch, level uint8, index int64) error {
	panic(fmt.Sprintf("object %d of level %d is rejected", index, level))
}

func openDisk(t testing.TB, im *image, f Fetcher, o Options) *Disk {
	t.Helper()
	d, err := Open(im.disk(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
