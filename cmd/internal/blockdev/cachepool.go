package blockdev

import (
	"context"
	"encoding/binary"
	"sync"
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

// pool is the memory of a WriteCache, in blocks. Blocks that were given back are used again first.
type pool struct {
	data   *memory
	stack  *memory // numbers of free blocks, four bytes each
	slots  slot    // in all
	notice func(Notice)

	mu      sync.Mutex // guards what follows
	next    slot       // the first that was never used
	free    slot       // length of stack
	peak    slot
	waiting int
	freed   chan struct{} // closed when a block comes free while somebody waits
	closed  bool

	noticeMu sync.Mutex // held while notice is called, so that notices come in order; taken before mu
	said     bool       // guarded by noticeMu: the last notice was Full
}

func newPool(slots slot, notice func(Notice)) (*pool, error) {
	data, err := newMemory(int64(slots) * CacheBlock)
	if err != nil {
		return nil, err
	}
	stack, err := newMemory(int64(slots) * 4)
	if err != nil {
		_ = data.free()
		return nil, err
	}
	return &pool{data: data, stack: stack, slots: slots, notice: notice, freed: make(chan struct{})}, nil
}

// bytes is the memory of a block that was taken.
func (p *pool) bytes(s slot) []byte {
	off := int64(s) * CacheBlock
	return p.data.bytes[off : off+CacheBlock : off+CacheBlock]
}

// take gives a block of zeros, if there is one.
func (p *pool) take() (slot, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var s slot
	switch {
	case p.closed:
		return 0, false
	case p.free > 0:
		p.free--
		s = slot(binary.NativeEndian.Uint32(p.stack.bytes[4*int64(p.free):]))
	case p.next < p.slots:
		s = p.next
		p.next++
	default:
		return 0, false
	}
	p.peak = max(p.peak, p.next-p.free)
	return s, true
}

// give takes blocks back, with the memory they take up. Nobody may know their numbers any more.
func (p *pool) give(slots []slot) {
	if len(slots) == 0 {
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
		binary.NativeEndian.PutUint32(p.stack.bytes[4*int64(p.free):], uint32(s))
		p.free++
	}
	if p.waiting > 0 {
		close(p.freed)
		p.freed = make(chan struct{})
	}
	p.mu.Unlock()
	p.announce()
}

// wait returns when a block may be free.
func (p *pool) wait(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	if p.free > 0 || p.next < p.slots {
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
	unused := p.slots - p.next + p.free
	n := Notice{Waiting: p.waiting, Used: int64(p.next-p.free) * CacheBlock, Max: int64(p.slots) * CacheBlock}
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
