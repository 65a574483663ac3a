package remote

import (
	"errors"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/vdisk/tree"
)

// runState is how far a run is.
type runState uint8

const (
	runAsked  runState = iota // the network has it
	runHeld                   // the bytes are there, the leaf page that describes them is not
	runReady                  // the bytes may be verified and read
	runBroken                 // a chunk does not verify; it goes back when nobody reads it any more
	runZero                   // the index says that there is nothing but zeros
	runFailed                 // see failure
	runDone                   // private: wholly verified and decoded
)

// run is one fetch of consecutive chunks below one leaf page. The disk's lock guards it, except that the network has
// fetch and buf while it is asked, and that those counted in users read buf.
//
// It lives while refs is above 0: references are held by the network, by the page read it waits for, by the queue of
// the workers, and by requests. When the last one goes, its verified chunks are put into the cache.
type run struct {
	list    links[*run] // in the queue
	disk    *Disk
	fetch   engine.Fetch
	buf     *buffer
	first   int64
	count   int
	leaf    *page // nil while it is not known
	offs    [tree.Fanout + 1]int32
	state   runState
	private bool // belongs to one Stream, and stands in no table
	ahead   bool // nobody had asked for it
	demand  bool // somebody has, meanwhile
	sent    bool // was handed in
	urge    bool // was asked for before it was handed in
	queued  bool
	tabled  bool
	refs    int
	users   int    // who read buf now
	good    uint64 // chunks that are verified
	touched uint64 // chunks of read-ahead that were read
	logical int64  // bytes of disk it accounts for
	rejects int
	bad     int64 // runBroken: the chunk
	fail    failure
	waiters waitList
	held    *run    // the next one that waits for the same page
	out     *buffer // private: decoded chunks
	free    *run
}

func (r *run) links() *links[*run] { return &r.list }

func (r *run) has(chunk int64) bool { return chunk >= r.first && chunk < r.first+int64(r.count) }

func (r *run) entry(i int) tree.Entry { return r.leaf.entries[int(r.first)&(tree.Fanout-1)+i] }

// stored gives the stored bytes of chunk first+i of a ready run.
func (r *run) stored(i int) []byte { return r.buf.bytes[r.offs[i]:r.offs[i+1]] }

func (r *run) all() uint64 { return ^uint64(0) >> (tree.Fanout - r.count) }

// Fetched takes the answer from the network.
func (r *run) Fetched(*engine.Fetch) { r.disk.arrived(r) }

func (d *Disk) arrived(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case r.state != runAsked: // the index has told meanwhile that it is zero or fails
	case r.fetch.Err != nil:
		d.failRunLocked(r, failure{index: r.first, err: r.fetch.Err})
	default:
		d.stats.StoredBytes += uint64(max(0, r.fetch.Total))
		if r.leaf == nil {
			r.state = runHeld
		} else {
			d.readyLocked(r)
		}
	}
	d.dropLocked(r)
}

// newRunLocked makes a run for chunks below one leaf page, with a reference for the network and one for the caller. leaf
// is nil when the page is not known.
func (d *Disk) newRunLocked(first int64, count int, leaf *page, demand bool) *run {
	r := d.freeRuns
	if r == nil {
		r = &run{disk: d}
		r.fetch.Owner = r
	} else {
		d.freeRuns, r.free = r.free, nil
	}
	r.first, r.count, r.state, r.refs = first, count, runAsked, 2
	r.ahead, r.demand = !demand, demand
	r.logical = min(int64(count)<<d.shift, d.shape.Size-first<<d.shift)
	need, expect := int(r.logical), -1
	if leaf != nil {
		d.describeLocked(r, leaf)
		need = int(r.offs[count])
		expect = need
	}
	r.buf = d.buffers.take(need)
	f := &r.fetch
	f.Level, f.First, f.Count, f.Demand = 0, first, count, demand
	f.Buf, f.Expect = r.buf.bytes[:need], expect
	f.Total, f.Err = 0, nil
	d.liveRuns++
	d.flight += r.logical
	d.stats.Fetches++
	d.stats.DiskBytes += uint64(r.logical)
	if r.ahead {
		d.stats.AheadBytes += uint64(r.logical)
	}
	return r
}

// describeLocked gives a run its leaf page.
func (d *Disk) describeLocked(r *run, leaf *page) {
	d.index.use(leaf)
	r.leaf = leaf
	at := 0
	for i := range r.count {
		e := r.entry(i)
		at += int(e.Length)
		r.offs[i+1] = int32(at)
		if e.Kind == tree.Zero {
			r.good |= 1 << i
		}
	}
}

// tableLocked makes a run known to all readers.
func (d *Disk) tableLocked(r *run) {
	r.tabled = true
	for i := range int64(r.count) {
		d.runs.put(objectKey(0, r.first+i), r)
	}
}

func (d *Disk) untableLocked(r *run) {
	if !r.tabled {
		return
	}
	r.tabled = false
	for i := range int64(r.count) {
		d.runs.del(objectKey(0, r.first+i))
	}
}

// readyLocked looks at a run whose bytes and leaf page are both there.
func (d *Disk) readyLocked(r *run) {
	if r.good == r.all() { // whatever came for chunks that are all zero
		d.zeroRunLocked(r)
		return
	}
	if r.fetch.Total != int(r.offs[r.count]) {
		bad := 0
		for r.good>>bad&1 == 1 {
			bad++
		}
		d.breakLocked(r, r.first+int64(bad))
		return
	}
	r.state = runReady
	if r.waiters.empty() || !r.private && r.logical >= fanOut && d.resting > 0 {
		d.enqueueLocked(r)
	}
	r.waiters.wakeAll()
}

// breakLocked notes that a chunk of a run is not what the index says. When nobody reads the run any more a worker gives
// it back for another server.
func (d *Disk) breakLocked(r *run, chunk int64) {
	if r.state == runReady || r.state == runAsked || r.state == runHeld {
		r.state, r.bad = runBroken, chunk
		d.stats.Damaged++
	}
	if r.state == runBroken && r.users == 0 {
		d.enqueueLocked(r)
	}
}

// rejectLocked gives a broken run back to the network. It unlocks meanwhile.
func (d *Disk) rejectLocked(r *run) {
	f := failure{index: r.bad, blame: append(r.fail.blame, r.fetch.Servers...), err: engine.ErrNoGoodCopy}
	r.fail.blame = f.blame
	if r.rejects++; r.rejects > maxRejects {
		d.failRunLocked(r, f)
		return
	}
	r.state = runAsked
	r.refs++
	r.fetch.Expect = int(r.offs[r.count])
	bad, demand := r.bad, r.demand
	d.mu.Unlock()
	err := d.fetcher.Reject(&r.fetch, 0, bad)
	if err == nil && demand {
		d.fetcher.Urge(&r.fetch)
	}
	d.mu.Lock()
	if err != nil {
		f.err = err
		d.failRunLocked(r, f)
		d.dropLocked(r)
	}
}

// failRunLocked ends a run with an error. When no server has a good copy of all its chunks, each may still be had alone.
func (d *Disk) failRunLocked(r *run, f failure) {
	if len(f.blame) == 0 {
		f.blame = r.fail.blame
	}
	r.state, r.fail = runFailed, f
	if f.level == 0 && r.count > 1 && errors.Is(f.err, engine.ErrNoGoodCopy) {
		if len(d.singly) >= maxSingly {
			clear(d.singly)
		}
		d.singly[r.first>>fanoutShift] = struct{}{}
	}
	d.untableLocked(r)
	r.waiters.wakeAll()
}

// zeroRunLocked ends a run that the index says is zero.
func (d *Disk) zeroRunLocked(r *run) {
	r.state = runZero
	d.untableLocked(r)
	r.waiters.wakeAll()
}

// dropLocked gives back one reference. It may unlock meanwhile.
func (d *Disk) dropLocked(r *run) {
	if r.refs--; r.refs > 0 {
		return
	}
	if r.state == runReady && !r.private && !d.closing {
		if r.good != r.all() {
			d.enqueueLocked(r)
			return
		}
		r.refs = 1
		d.keepLocked(r)
		if r.refs--; r.refs > 0 {
			return
		}
	}
	d.recycleLocked(r)
}

// keepLocked puts the chunks of a wholly verified run into the cache of stored chunks. It unlocks for the copying.
func (d *Disk) keepLocked(r *run) {
	for i := range r.count {
		e, chunk := r.entry(i), r.first+int64(i)
		if e.Kind == tree.Zero || d.stored.find(chunk) != nil {
			continue
		}
		seg, off := d.stored.reserve(int(e.Length))
		if seg == nil {
			break
		}
		src := r.stored(i)
		if len(src) > minBuffer {
			d.mu.Unlock()
			copy(seg.bytes[off:], src)
			d.mu.Lock()
		} else {
			copy(seg.bytes[off:], src)
		}
		d.stored.publish(seg, off, chunk, e, r.ahead && r.touched>>i&1 == 0)
		seg.unpin()
	}
	d.untableLocked(r)
}

// recycleLocked takes back a run that nobody holds.
func (d *Disk) recycleLocked(r *run) {
	d.untableLocked(r)
	if r.leaf != nil {
		d.index.drop(r.leaf)
	}
	d.buffers.give(r.buf)
	d.buffers.give(r.out)
	d.liveRuns--
	d.flight -= r.logical
	r.leaf, r.buf, r.out, r.fetch.Buf = nil, nil, nil, nil
	r.private, r.sent, r.urge, r.queued = false, false, false, false
	r.good, r.touched, r.rejects, r.users, r.fail = 0, 0, 0, 0, failure{}
	r.free, d.freeRuns = d.freeRuns, r
	d.roomLocked()
}

// enqueueLocked gives a run to the workers.
func (d *Disk) enqueueLocked(r *run) {
	if r.queued || d.closing {
		return
	}
	r.queued = true
	r.refs++
	d.queue.pushBack(r)
	d.wake.Signal()
}

// roomLocked wakes who waits for room, if there may be some. Who is woken and takes some calls it again, for the next.
func (d *Disk) roomLocked() {
	if d.liveRuns < maxRuns && d.livePage < maxPageReads && (d.flight < d.options.FlightBytes || d.liveRuns == 0) {
		d.room.wakeOne()
	}
	if d.allowedLocked(0, false) {
		d.farRoom.wakeOne()
	}
}
