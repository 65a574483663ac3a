package remote

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk/tree"
)

// Fetcher is what a Disk needs of the network. *stream.Client is one. The Owner of each fetch has a method
// Fetched(*engine.Fetch), which is called once for each time the fetch was taken; it may be called from inside Fetch and
// Reject, and takes no time.
type Fetcher interface {
	// Fetch takes fetches in. When it fails for one, that one and the rest were not taken.
	Fetch(list ...*engine.Fetch) (taken int, err error)
	// Urge makes demand of read-ahead that somebody waits for now.
	Urge(f *engine.Fetch)
	// Reject says that an object of a finished fetch does not verify; the fetch is taken in again, for another server.
	Reject(f *engine.Fetch, level uint8, index int64) error
}

// Options are sizes of a Disk, in bytes. Zero values stand for defaults.
type Options struct {
	CacheBytes   int64 // of verified stored chunks
	DecodedBytes int64 // of decoded chunks
	IndexBytes   int64 // of verified index pages
	FlightBytes  int64 // of disk that is asked for or not yet verified
	ReadAhead    int   // the greatest window of one sequential stream; negative: no read-ahead
	Workers      int   // goroutines that verify and decode; GOMAXPROCS
}

func (o Options) withDefaults() Options {
	for _, v := range []struct {
		field *int64
		value int64
	}{{&o.CacheBytes, defaultCache}, {&o.DecodedBytes, defaultDecoded}, {&o.IndexBytes, defaultIndex}, {&o.FlightBytes, defaultFlight}} {
		if *v.field <= 0 {
			*v.field = v.value
		}
	}
	if o.ReadAhead == 0 {
		o.ReadAhead = defaultAhead
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	o.Workers = min(o.Workers, maxWorkers)
	return o
}

// Disk is a vDisk that is read from servers. Every byte it gives was verified against the root that the disk was opened
// with. It is a read-only blockdev.Device, TryReader, Mapper and Prefetcher.
type Disk struct {
	disk    wire.Disk
	shape   tree.Shape
	shift   uint // log2 of the chunk size
	chunks  int64
	perRun  int64 // chunks of one fetch at most
	fetcher Fetcher
	options Options

	decoders decoderPool
	workers  sync.WaitGroup
	closed   chan struct{} // closed by Close

	mu       sync.Mutex
	closing  bool          // guarded by mu, like all below
	active   int           // readers
	idle     chan struct{} // closed when closing and active is 0
	runs     table[*run]   // by chunk: what is asked for or not yet cached
	reads    table[*pageRead]
	index    index
	stored   stored
	decoded  decoded
	buffers  buffers
	liveRuns int
	livePage int
	flight   int64
	room     waitList // demand that waits for liveRuns, livePage or flight to fall
	farRoom  waitList // streams that do
	queue    list[*run]
	rejects  list[*pageRead]
	wake     sync.Cond // workers
	resting  int       // workers that wait
	singly   map[int64]struct{}
	ahead    ahead
	stats    Stats

	freeRuns     *run
	freeReads    *pageRead
	freeRequests []*request
}

// Open makes a disk of what a server described at log-in. It starts the workers; Close ends them.
func Open(disk wire.Disk, f Fetcher, o Options) (*Disk, error) {
	shape := tree.Shape{Size: disk.Size, SectorSize: disk.SectorSize, ChunkSize: disk.ChunkSize}
	if err := shape.Validate(); err != nil {
		return nil, fmt.Errorf("open %q version %d: the server describes it wrong: %w", disk.Name, disk.Number, err)
	}
	if int(disk.Levels) != shape.Levels() {
		return nil, fmt.Errorf("open %q version %d: the server describes it wrong: %d levels of index, a disk of %d bytes in chunks of %d has %d",
			disk.Name, disk.Number, disk.Levels, disk.Size, disk.ChunkSize, shape.Levels())
	}
	o = o.withDefaults()
	chunk := int(disk.ChunkSize)
	d := &Disk{
		disk: disk, shape: shape, shift: uint(bits.TrailingZeros32(disk.ChunkSize)), chunks: shape.Chunks(),
		perRun:  int64(max(1, min(tree.Fanout, maxRun/chunk))),
		fetcher: f, options: o,
		closed: make(chan struct{}), idle: make(chan struct{}), singly: map[int64]struct{}{},
	}
	d.wake.L = &d.mu
	d.buffers.limit = o.FlightBytes
	d.index.open(shape, o.IndexBytes)
	d.ahead.limit = int64(o.ReadAhead)
	if err := d.decoders.init(2 * o.Workers); err != nil {
		return nil, err
	}
	if err := errors.Join(d.stored.init(o.CacheBytes, chunk, d.evicted), d.decoded.open(o.DecodedBytes, chunk)); err != nil {
		_ = d.free()
		return nil, fmt.Errorf("open %q version %d: %w", disk.Name, disk.Number, err)
	}
	d.workers.Add(o.Workers)
	for range o.Workers {
		go d.work() // ends after closing is set; Close waits for it
	}
	return d, nil
}

// Close ends the disk: reads that wait end with blockdev.ErrClosed. It waits for readers and workers, not for fetches: what
// comes back later is dropped.
func (d *Disk) Close() error {
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		return nil
	}
	d.closing = true
	close(d.closed)
	if d.active == 0 {
		close(d.idle)
	}
	d.wake.Broadcast()
	d.mu.Unlock()
	<-d.idle
	d.workers.Wait()
	return d.free()
}

func (d *Disk) free() error {
	d.decoders.close()
	return errors.Join(d.stored.memory.free(), d.decoded.memory.free())
}

// request is what one call of a reader holds. It is reused.
type request struct {
	wait    waiter
	list    []*engine.Fetch // to be handed in
	urges   []*engine.Fetch // to be urged
	runs    []*run          // held for the time of that
	reads   []*pageRead
	held    *run // of which chunks are being read
	planned int64
}

// maxBatch is how many fetches one call hands in at once.
const maxBatch = 64

// enterLocked counts a reader in.
func (d *Disk) enterLocked() (*request, error) {
	if d.closing {
		return nil, blockdev.ErrClosed
	}
	d.active++
	if n := len(d.freeRequests); n > 0 {
		rq := d.freeRequests[n-1]
		d.freeRequests = d.freeRequests[:n-1]
		return rq, nil
	}
	return newRequest(), nil
}

func newRequest() *request {
	return &request{
		wait: waiter{ready: make(chan struct{}, 1)},
		list: make([]*engine.Fetch, 0, maxBatch), urges: make([]*engine.Fetch, 0, maxBatch),
		runs: make([]*run, 0, 2*maxBatch), reads: make([]*pageRead, 0, 2*maxBatch),
	}
}

// leaveLocked counts a reader out.
func (d *Disk) leaveLocked(rq *request) {
	d.letGoLocked(rq)
	rq.planned = 0
	d.freeRequests = append(d.freeRequests, rq)
	if d.active--; d.active == 0 && d.closing {
		close(d.idle)
	}
}

// waitLocked waits for list to be woken. It unlocks.
func (d *Disk) waitLocked(ctx context.Context, rq *request, list *waitList) error {
	w := &rq.wait
	list.add(w)
	d.mu.Unlock()
	var err error
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-d.closed:
		err = blockdev.ErrClosed
	}
	d.mu.Lock()
	if w.in != nil {
		w.in.list.remove(w)
		w.in = nil
	} else {
		<-w.ready
		if list == &d.room || list == &d.farRoom {
			d.roomLocked() // somebody else may use it
		}
	}
	d.mu.Unlock()
	return err
}

// Disk is what the disk was opened with.
func (d *Disk) Disk() wire.Disk { return d.disk }

// Size implements blockdev.Device.
func (d *Disk) Size() int64 { return d.shape.Size }

// BlockSizes implements blockdev.Device.
func (d *Disk) BlockSizes() blockdev.BlockSizes {
	return blockdev.BlockSizes{Minimum: 1, Preferred: d.shape.ChunkSize}
}

// ReadOnly implements blockdev.Device.
func (d *Disk) ReadOnly() bool { return true }

// WriteAt implements blockdev.Device.
func (d *Disk) WriteAt(context.Context, []byte, int64) error { return blockdev.ErrReadOnly }

// Trim implements blockdev.Device.
func (d *Disk) Trim(context.Context, int64, int64) error { return blockdev.ErrReadOnly }

// WriteZeroes implements blockdev.Device.
func (d *Disk) WriteZeroes(context.Context, int64, int64) error { return blockdev.ErrReadOnly }

// Flush implements blockdev.Device.
func (d *Disk) Flush(context.Context) error { return nil }
