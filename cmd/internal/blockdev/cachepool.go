package blockdev

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// slot is the number of a block of memory in a pool.
type slot uint32

// Notice tells that writes wait because a WriteCache is full, or that this is over.
type Notice struct {
	Full      bool
	Waiting   int   // writes, now
	Used, Max int64 // bytes
}

// clearedShare is the share of the cache, as a divisor, that must be free again before a full one is said to be over it:
// else one block that comes and goes would be a notice each time.
const clearedShare = 64

// pool is the memory of a WriteCache, in blocks. Blocks that were given back are used again first. Which blocks are free
// nobody needs to remember: those that the map does not name.
//
// A reserve of free blocks keeps its memory, so that a write finds some when the machine has none left, and the kernel writes
// pages out to get some. It begins small, grows each time that half of it is used up, and is made whole when the machine has had time to
// boot: 64 MiB took an emulated one 0.3 s, while its root was being mounted.
type pool struct {
	data   *memory
	stack  *memory // numbers of free blocks without memory, four bytes each
	slots  slot    // in all
	notice func(Notice)
	low    chan struct{} // holds a token when the reserve should be filled up; closed by close

	mu      sync.Mutex // guards what follows
	next    slot       // the first that was never used
	free    slot       // length of stack
	ready   []slot     // free blocks of zeros that have their memory: the reserve, of this capacity at most
	goal    int        // length to which ready is filled up
	filling slot       // free blocks that are about to be ready
	peak    slot
	waiting int
	freed   chan struct{} // closed when a block comes free while somebody waits
	closed  bool

	noticeMu sync.Mutex // held while notice is called, so that notices come in order; taken before mu
	said     bool       // guarded by noticeMu: the last notice was Full
}

// newPool makes a pool of the memory, of which every block is free and zero; it is the pool's from here on.
func newPool(data *memory, slots, reserve slot, notice func(Notice)) (*pool, error) {
	stack, err := newMemory(int64(slots) * 4)
	if err != nil {
		return nil, errors.Join(err, data.free())
	}
	reserve = min(reserve, slots)
	return &pool{
		data: data, stack: stack, slots: slots, notice: notice, low: make(chan struct{}, 1),
		ready: make([]slot, 0, reserve), goal: int(min(reserve, firstReserve)), freed: make(chan struct{}),
	}, nil
}

// bytes is the memory of a block that was taken.
func (p *pool) bytes(s slot) []byte {
	off := int64(s) * CacheBlock
	return p.data.bytes[off : off+CacheBlock : off+CacheBlock]
}

// take gives a block of zeros, if there is one.
func (p *pool) take() (slot, bool) {
	s, cold, ok := p.takeAny()
	if cold && p.data.file != nil {
		// A thread that waits for memory in a system call is alone in that. In a page fault it would keep the collector from stopping
		// it, which stops all others first: nobody would serve the writes by which the machine gets memory.
		p.data.populate(int64(s)*CacheBlock, CacheBlock)
	}
	return s, ok
}

// takeAny takes a block, and says whether it has no memory yet.
func (p *pool) takeAny() (s slot, cold, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return 0, false, false
	case len(p.ready) > 0:
		s = p.ready[len(p.ready)-1]
		p.ready = p.ready[:len(p.ready)-1]
		if len(p.ready) == p.goal/2 {
			p.goal = min(reserveGrowth*p.goal, cap(p.ready))
			p.fillLocked()
		}
	default:
		if s, cold = p.coldLocked(); !cold {
			return 0, false, false
		}
	}
	p.peak = max(p.peak, p.usedLocked())
	return s, cold, true
}

// coldLocked takes a free block that has no memory.
func (p *pool) coldLocked() (s slot, ok bool) {
	switch {
	case p.free > 0:
		p.free--
		return slot(binary.NativeEndian.Uint32(p.stack.bytes[4*int64(p.free):])), true
	case p.next < p.slots:
		p.next++
		return p.next - 1, true
	}
	return 0, false
}

func (p *pool) pushLocked(s slot) {
	binary.NativeEndian.PutUint32(p.stack.bytes[4*int64(p.free):], uint32(s))
	p.free++
}

// usedLocked is how many blocks are in use.
func (p *pool) usedLocked() slot { return p.next - p.free - slot(len(p.ready)) - p.filling }

func (p *pool) fillLocked() {
	if p.closed {
		return
	}
	select {
	case p.low <- struct{}{}:
	default:
	}
}

const (
	// fillBatch is how many blocks get their memory at once.
	fillBatch = 64
	// firstReserve is how many blocks the reserve has at first, 1 MiB, as much as the boot of a system writes; reserveGrowth is how much
	// larger it becomes when half of it is used up.
	firstReserve  = 1 << 20 / CacheBlock
	reserveGrowth = 4
	// reserveDelay is when it is made whole, though nobody has used it.
	reserveDelay = 30 * time.Second
)

// fill keeps the reserve full until close. Getting memory may take long; writes do not wait for it.
func (p *pool) fill() {
	whole := time.NewTimer(reserveDelay)
	defer whole.Stop()
	for {
		select {
		case <-whole.C:
			p.mu.Lock()
			p.goal = cap(p.ready)
			p.mu.Unlock()
		case _, open := <-p.low:
			if !open {
				return
			}
		}
		for p.fillSome() {
		}
	}
}

// populate gets the memory of blocks in few calls where they lie side by side, as those that were never used do. What it does not get
// comes by a fault of each first write: of a boot on an emulated machine they took 0.2 s.
func (p *pool) populate(batch []slot) {
	for i := 0; i < len(batch); {
		j := i + 1
		for j < len(batch) && batch[j] == batch[j-1]+1 {
			j++
		}
		p.data.populate(int64(batch[i])*CacheBlock, int64(j-i)*CacheBlock)
		i = j
	}
}

// fillSome gives a few blocks their memory, and says whether there may be more to do.
func (p *pool) fillSome() bool {
	var batch [fillBatch]slot
	n := 0
	p.mu.Lock()
	for n < len(batch) && len(p.ready)+n < p.goal && !p.closed {
		s, ok := p.coldLocked()
		if !ok {
			break
		}
		batch[n] = s
		n++
	}
	p.filling += slot(n)
	p.mu.Unlock()
	p.populate(batch[:n])
	for _, s := range batch[:n] {
		clear(p.bytes(s))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.filling -= slot(n)
	for _, s := range batch[:n] {
		if len(p.ready) < cap(p.ready) { // blocks given back may have come first
			p.ready = append(p.ready, s)
		} else {
			p.pushLocked(s)
		}
	}
	if n > 0 {
		p.freedLocked()
	}
	return n > 0
}

// freedLocked wakes those who wait for a free block.
func (p *pool) freedLocked() {
	if p.waiting > 0 {
		close(p.freed)
		p.freed = make(chan struct{})
	}
}

// give takes blocks back, with the memory they take up. Nobody may know their numbers any more.
func (p *pool) give(slots []slot) {
	if len(slots) == 0 {
		return
	}
	if slots = p.keep(slots); len(slots) == 0 {
		p.announce()
		return
	}
	for i := 0; i < len(slots); {
		run := i + 1
		for run < len(slots) && slots[run] == slots[run-1]+1 {
			run++
		}
		p.data.discard(int64(slots[i])*CacheBlock, int64(run-i)*CacheBlock)
		i = run
	}
	p.mu.Lock()
	for _, s := range slots {
		p.pushLocked(s)
	}
	p.freedLocked()
	p.mu.Unlock()
	p.announce()
}

// keep puts blocks that are given back into the reserve, as far as it has room, and returns the others.
func (p *pool) keep(slots []slot) []slot {
	p.mu.Lock()
	n := min(len(slots), cap(p.ready)-len(p.ready)-int(p.filling))
	p.mu.Unlock()
	if n <= 0 {
		return slots
	}
	for _, s := range slots[:n] {
		p.data.discardKept(int64(s) * CacheBlock)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range slots[:n] {
		if len(p.ready) < cap(p.ready) {
			p.ready = append(p.ready, s)
		} else { // others were faster; the memory stays, and is zero
			p.pushLocked(s)
		}
	}
	p.freedLocked()
	return slots[n:]
}

// wait returns when a block may be free.
func (p *pool) wait(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	if p.free > 0 || p.next < p.slots || len(p.ready) > 0 {
		p.mu.Unlock()
		return nil
	}
	freed := p.freed
	p.waiting++
	p.mu.Unlock()
	p.announce()
	defer func() {
		p.mu.Lock()
		p.waiting--
		p.mu.Unlock()
		p.announce()
	}()
	select {
	case <-freed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// announce gives notice if it has changed whether writes wait.
func (p *pool) announce() {
	if p.notice == nil {
		return
	}
	p.noticeMu.Lock()
	defer p.noticeMu.Unlock()
	p.mu.Lock()
	used := p.usedLocked()
	unused := p.slots - used
	n := Notice{Waiting: p.waiting, Used: int64(used) * CacheBlock, Max: int64(p.slots) * CacheBlock}
	p.mu.Unlock()
	switch {
	case !p.said && n.Waiting > 0:
		n.Full = true
	case p.said && n.Waiting == 0 && unused >= max(1, p.slots/clearedShare):
	default:
		return
	}
	p.said = n.Full
	p.notice(n)
}

// close ends all waits; take fails from here on.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		close(p.low)
	}
	p.closed = true
	close(p.freed)
	p.freed = make(chan struct{})
}

// release gives the memory back, after close, when nobody uses it any more.
func (p *pool) release() error {
	if err := p.data.free(); err != nil {
		return err
	}
	return p.stack.free()
}
