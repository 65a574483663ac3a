package vdisk

import (
	"sync"
	"sync/atomic"

	"github.com/spate-project/spate/vdisk/tree"
	"github.com/zeebo/blake3"
)

const (
	// jobBytes is how much of a disk is compressed as one piece; at least one chunk.
	jobBytes = 1 << 20
	// maxWorkers bounds the goroutines that compress, and with them the memory of an import or a verification.
	maxWorkers = 16
	// zeroJob is how many zeros are one piece; a multiple of every chunk size.
	zeroJob = 64 << 20
	// spareJobs keeps workers busy while the disk is slow for a moment.
	spareJobs = 4
)

// job is a piece of a disk on its way through a pipeline: data in chunks, or a run of zeros.
type job struct {
	data []byte // what is filled of its capacity of jobBytes
	zero int64  // bytes of zeros, instead of data

	entries []tree.Entry
	stored  [][]byte
	out     []byte // backs stored
	done    chan struct{}
	users   atomic.Int32
}

// pipeline compresses pieces of a disk in parallel, and assembles and hashes them in order. One goroutine
// feeds it; wait ends all that it started.
type pipeline struct {
	chunk    int
	assemble *assembler
	hasher   *blake3.Hasher // of the disk's bytes; read it after wait

	work, order, hash chan *job
	free              chan *job
	all               sync.WaitGroup

	mu  sync.Mutex
	err error // guarded by mu: the first failure; later pieces are dropped
}

// newPipeline starts the goroutines: workers that compress, one that assembles, one that hashes.
func newPipeline(a *assembler, chunk, workers int, codec tree.Codec) (*pipeline, error) {
	workers = min(max(workers, 1), maxWorkers)
	jobs := 2*workers + spareJobs
	p := &pipeline{
		chunk: chunk, assemble: a, hasher: blake3.New(),
		work: make(chan *job, jobs), order: make(chan *job, jobs), hash: make(chan *job, jobs), free: make(chan *job, jobs),
	}
	encoders := make([]*tree.Encoder, workers)
	for i := range encoders {
		var err error
		if encoders[i], err = tree.NewEncoder(codec); err != nil {
			return nil, err
		}
	}
	for range jobs {
		p.free <- &job{done: make(chan struct{}, 1)}
	}
	// All of these end when wait closes their channels, and wait waits for them.
	for _, e := range encoders {
		p.all.Go(func() { p.compress(e) })
	}
	p.all.Go(p.write)
	p.all.Go(p.sum)
	return p, nil
}

// next gives an empty job, waiting for one to come back.
func (p *pipeline) next() *job {
	j := <-p.free
	j.data, j.zero = j.data[:0], 0
	if cap(j.data) == 0 {
		j.data = make([]byte, 0, max(jobBytes, p.chunk))
	}
	return j
}

// submit hands a job on; it must not be touched afterwards.
func (p *pipeline) submit(j *job) {
	j.users.Store(2)
	p.work <- j
	p.order <- j
	p.hash <- j
}

// release is called by each of the two that read a job.
func (p *pipeline) release(j *job) {
	if j.users.Add(-1) == 0 {
		p.free <- j
	}
}

func (p *pipeline) compress(e *tree.Encoder) {
	for j := range p.work {
		j.entries, j.stored = j.entries[:0], j.stored[:0]
		room := tree.Room(p.chunk)
		if j.out == nil && len(j.data) > 0 {
			j.out = make([]byte, cap(j.data)/p.chunk*room)
		}
		for i := 0; i*p.chunk < len(j.data); i++ {
			chunk := j.data[i*p.chunk : min((i+1)*p.chunk, len(j.data))]
			entry, stored := e.Encode(j.out[i*room:i*room:(i+1)*room], chunk)
			j.entries, j.stored = append(j.entries, entry), append(j.stored, stored)
		}
		j.done <- struct{}{}
	}
}

func (p *pipeline) write() {
	for j := range p.order {
		<-j.done
		if p.failure() == nil {
			p.fail(p.append(j))
		}
		p.release(j)
	}
}

func (p *pipeline) append(j *job) error {
	for i, e := range j.entries {
		if err := p.assemble.chunk(e, j.stored[i]); err != nil {
			return err
		}
	}
	for n := j.zero; n > 0; n -= int64(p.chunk) {
		if err := p.assemble.chunk(tree.Entry{}, nil); err != nil {
			return err
		}
	}
	return nil
}

// zeros is a source of zeros to hash.
var zeros [jobBytes]byte

// hashed adds bytes and then a number of zeros to a hash.
func hashed(h *blake3.Hasher, data []byte, zero int64) {
	_, _ = h.Write(data) // a hash cannot fail
	for ; zero > 0; zero -= int64(len(zeros)) {
		_, _ = h.Write(zeros[:min(zero, int64(len(zeros)))])
	}
}

func (p *pipeline) sum() {
	for j := range p.hash {
		if p.failure() == nil {
			hashed(p.hasher, j.data, j.zero)
		}
		p.release(j)
	}
}

// fail keeps the first failure.
func (p *pipeline) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (p *pipeline) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// wait lets everything that was submitted finish, ends the goroutines and tells the first failure.
func (p *pipeline) wait() error {
	close(p.work)
	close(p.order)
	close(p.hash)
	p.all.Wait()
	return p.failure()
}
