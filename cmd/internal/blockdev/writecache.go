package blockdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// CacheBlock is the unit of a WriteCache in bytes.
const CacheBlock = 4096

// WriteCache is a Device that can be written over one that is not: what is written stays in memory, what was not is read
// from the base. It is empty again when it is closed. See the package comment for what it promises.
type WriteCache struct {
	base       Device
	tryBase    TryReader // nil where the base has none
	mapBase    Mapper
	fetchBase  Prefetcher
	size       int64
	blocks     int64
	blockMap   *blockMap
	pool       *pool
	life       sync.RWMutex // held for reading while blocks are given back, which Close must not overtake
	closed     atomic.Bool  // set with all locks of the map held; looked at with one
	damaged    atomic.Bool  // the map is not what was stored: nothing is right any more
	filling    sync.WaitGroup
	scratch    sync.Pool // *[CacheBlock]byte
	slotsFreed sync.Pool // *[]slot

	readBytes, hitBytes, writeBytes atomic.Uint64
}

// NewWriteCache puts a cache of maxBytes, rounded down to blocks, over base. notice, which may be nil, is called when
// writes begin to wait because the cache is full, and when that is over; it must return soon and not call the cache.
func NewWriteCache(base Device, maxBytes int64, notice func(Notice)) (*WriteCache, error) {
	slots, err := slotsFor(base.Size(), maxBytes)
	if err != nil {
		return nil, err
	}
	table, err := newMemory(mapSize(blocksOf(base.Size())))
	if err != nil {
		return nil, fmt.Errorf("write cache: %w", err)
	}
	data, err := newMemory(int64(slots) * CacheBlock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write cache: %w", err), table.free())
	}
	p, err := newPool(data, slots, 0, notice)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write cache: %w", err), table.free())
	}
	return newWriteCache(base, newBlockMap(table, blocksOf(base.Size()), rand.Uint64()), p), nil
}

func blocksOf(size int64) int64 { return (size + CacheBlock - 1) / CacheBlock }

// slotsFor is how many blocks of memory a cache of maxBytes over a disk has.
func slotsFor(size, maxBytes int64) (slot, error) {
	slots := min(maxBytes/CacheBlock, max(1, blocksOf(size)))
	if slots < 1 || slots > maxSlots {
		return 0, fmt.Errorf("a write cache of %d bytes; it takes %d bytes at least and %d at most", maxBytes, CacheBlock, maxSlots*CacheBlock)
	}
	return slot(slots), nil
}

// newWriteCache puts a cache together; Close ends what it starts.
func newWriteCache(base Device, m *blockMap, p *pool) *WriteCache {
	c := &WriteCache{base: base, size: base.Size(), blocks: blocksOf(base.Size()), blockMap: m, pool: p}
	c.tryBase, _ = base.(TryReader)
	c.mapBase, _ = base.(Mapper)
	c.fetchBase, _ = base.(Prefetcher)
	c.scratch.New = func() any { return new([CacheBlock]byte) }
	c.slotsFreed.New = func() any { s := make([]slot, 0, leafBlocks); return &s }
	if cap(p.ready) > 0 {
		p.fillLocked()       // nobody else knows the pool yet
		c.filling.Go(p.fill) // ends with the pool; Close waits for it
	}
	return c
}

// Size implements Device; it is the base's.
func (c *WriteCache) Size() int64 { return c.size }

// BlockSizes implements Device.
func (c *WriteCache) BlockSizes() BlockSizes {
	return BlockSizes{Minimum: 1, Preferred: max(CacheBlock, c.base.BlockSizes().Preferred)}
}

// ReadOnly implements Device.
func (c *WriteCache) ReadOnly() bool { return false }

// blockLength is the length of a block in bytes; the last one may be short.
func (c *WriteCache) blockLength(block int64) int64 { return min(CacheBlock, c.size-block*CacheBlock) }

// WriteAt implements Device. While the cache is full it waits.
func (c *WriteCache) WriteAt(ctx context.Context, p []byte, off int64) error {
	if err := CheckRange(off, int64(len(p)), c.size); err != nil {
		return err
	}
	return c.write(ctx, true, p, off)
}

// TryWriteAt implements TryWriter.
func (c *WriteCache) TryWriteAt(p []byte, off int64) bool {
	return CheckRange(off, int64(len(p)), c.size) == nil && c.write(context.Background(), false, p, off) == nil
}

// errWait says that something could not be done without waiting.
var errWait = errors.New("this would have to wait")

func (c *WriteCache) write(ctx context.Context, mayWait bool, p []byte, off int64) error {
	for done := 0; done < len(p); {
		at := off + int64(done)
		block, from := at/CacheBlock, at%CacheBlock
		n := int(min(c.blockLength(block)-from, int64(len(p)-done)))
		if err := c.writeBlock(ctx, mayWait, block, from, p[done:done+n]); err != nil {
			return err
		}
		done += n
	}
	c.writeBytes.Add(uint64(len(p)))
	return nil
}

// writeBlock stores part at from inside one block.
func (c *WriteCache) writeBlock(ctx context.Context, mayWait bool, block, from int64, part []byte) error {
	whole := from == 0 && int64(len(part)) == c.blockLength(block)
	if whole && isZero(part) {
		return c.zeroBlocks(block, block)
	}
	var base *[CacheBlock]byte // the base's content, once it is needed
	defer func() {
		if base != nil {
			c.scratch.Put(base)
		}
	}()
	for {
		switch err := c.store(block, from, part, whole, base); {
		case err == nil:
			return nil
		case errors.Is(err, errNeedsBase):
			base = c.scratch.Get().(*[CacheBlock]byte)
			if err := c.readBase(ctx, mayWait, base[:c.blockLength(block)], block*CacheBlock); err != nil {
				return err
			}
		case errors.Is(err, errFull) && mayWait:
			if err := c.pool.wait(ctx); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

var (
	errNeedsBase = errors.New("the rest of the block is the base's")
	errFull      = errors.New("the write cache is full")
)

// store is one attempt of writeBlock, with the lock of the block. base is nil or the content that the base has for it,
// which cannot have changed since it was read.
func (c *WriteCache) store(block, from int64, part []byte, whole bool, base *[CacheBlock]byte) error {
	lock := c.blockMap.lock(block / leafBlocks)
	lock.Lock()
	defer lock.Unlock()
	if err := c.usable(); err != nil {
		return err
	}
	e := c.blockMap.get(block)
	switch {
	case e == entryDamaged:
		return c.damage()
	case e.isData():
		c.pool.data.store(int64(e.slot())*CacheBlock+from, part)
		return nil
	case e == entryZero && isZero(part):
		return nil
	case e == entryBase && !whole && base == nil:
		return errNeedsBase
	}
	s, ok := c.pool.take()
	if !ok {
		return errFull
	}
	// The data first; nobody knows the slot before the map names it.
	at := int64(s) * CacheBlock
	if e == entryBase && !whole {
		c.pool.data.store(at, base[:])
	}
	c.pool.data.store(at+from, part)
	c.blockMap.set(block, dataIn(s))
	return nil
}

// usable says why the cache cannot be used any more. It is called with a lock of the map held.
func (c *WriteCache) usable() error {
	switch {
	case c.closed.Load():
		return ErrClosed
	case c.damaged.Load():
		return ErrDamaged
	}
	return nil
}

// ErrDamaged says that the map of a write cache is not what was stored there. Where writes are nobody knows then, and
// everything fails rather than that old data is read.
var ErrDamaged = errors.New("the map of the write cache is damaged")

func (c *WriteCache) damage() error {
	c.damaged.Store(true)
	return ErrDamaged
}

// readBase reads what only the base has.
func (c *WriteCache) readBase(ctx context.Context, mayWait bool, p []byte, off int64) error {
	if mayWait {
		return c.base.ReadAt(ctx, p, off)
	}
	if c.tryBase == nil || !c.tryBase.TryReadAt(p, off) {
		return errWait
	}
	return nil
}

// ReadAt implements Device.
func (c *WriteCache) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := CheckRange(off, int64(len(p)), c.size); err != nil {
		return err
	}
	return c.read(ctx, true, p, off)
}

// TryReadAt implements TryReader.
func (c *WriteCache) TryReadAt(p []byte, off int64) bool {
	return CheckRange(off, int64(len(p)), c.size) == nil && c.read(context.Background(), false, p, off) == nil
}

func (c *WriteCache) read(ctx context.Context, mayWait bool, p []byte, off int64) error {
	hits, fromBase := 0, 0 // fromBase bytes before pos are the base's and not read yet
	for pos := 0; pos < len(p); {
		hit, miss, err := c.copyOut(p[pos:], off+int64(pos))
		if err != nil {
			return err
		}
		if hit > 0 && fromBase > 0 {
			if err := c.readBase(ctx, mayWait, p[pos-fromBase:pos], off+int64(pos-fromBase)); err != nil {
				return err
			}
			fromBase = 0
		}
		hits += hit
		fromBase += miss
		pos += hit + miss
	}
	if fromBase > 0 {
		start := len(p) - fromBase
		if err := c.readBase(ctx, mayWait, p[start:], off+int64(start)); err != nil {
			return err
		}
	}
	c.readBytes.Add(uint64(len(p)))
	c.hitBytes.Add(uint64(hits))
	return nil
}

// copyOut copies the run of bytes at off that are ours into p and returns its length, and the length of the run behind
// it that is the base's; both end at the end of the leaf at the latest.
func (c *WriteCache) copyOut(p []byte, off int64) (hit, miss int, err error) {
	leaf := off / CacheBlock / leafBlocks
	p = p[:min(int64(len(p)), (leaf+1)*leafBlocks*CacheBlock-off)]
	lock := c.blockMap.lock(leaf)
	lock.RLock()
	defer lock.RUnlock()
	if err := c.usable(); err != nil {
		return 0, 0, err
	}
	switch c.blockMap.leaves[leaf] {
	case allBase:
		return 0, len(p), nil
	case allZero:
		clear(p)
		return len(p), 0, nil
	}
	for pos := 0; pos < len(p); {
		at := off + int64(pos)
		from := at % CacheBlock
		n := min(CacheBlock-int(from), len(p)-pos)
		switch e := c.blockMap.get(at / CacheBlock); {
		case e == entryDamaged:
			return 0, 0, c.damage()
		case e == entryBase:
			miss += n
		case miss > 0:
			return hit, miss, nil
		case e == entryZero:
			clear(p[pos : pos+n])
			hit += n
		default:
			copy(p[pos:pos+n], c.pool.bytes(e.slot())[from:])
			hit += n
		}
		pos += n
	}
	return hit, miss, nil
}

// Flush implements Device. There is nowhere safer to bring it to.
func (c *WriteCache) Flush(context.Context) error {
	return c.usable()
}

// Close forgets everything that was written, unless the memory is kept by others. What uses the cache afterwards gets ErrClosed, and so do writes that wait.
func (c *WriteCache) Close() error {
	c.pool.close()
	c.filling.Wait()
	c.life.Lock()
	defer c.life.Unlock()
	for i := range c.blockMap.locks {
		c.blockMap.locks[i].Lock()
		defer c.blockMap.locks[i].Unlock()
	}
	if c.closed.Swap(true) {
		return ErrClosed
	}
	return errors.Join(c.blockMap.memory.free(), c.pool.release())
}

// WriteCacheStats tells how a WriteCache is used.
type WriteCacheStats struct {
	Used, Peak, Max     int64  // bytes of memory that hold data, now, at most so far, and allowed
	Waiting             int    // writes that wait because it is full
	Ready               int64  // bytes of memory that are free and there, see Kept
	ReadBytes, HitBytes uint64 // read, and how much of it came from the cache
	WriteBytes          uint64
}

// Stats tells how the cache is used.
func (c *WriteCache) Stats() WriteCacheStats {
	p := c.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	return WriteCacheStats{
		Used: int64(p.usedLocked()) * CacheBlock, Peak: int64(p.peak) * CacheBlock, Max: int64(p.slots) * CacheBlock,
		Waiting: p.waiting, Ready: int64(len(p.ready)) * CacheBlock, ReadBytes: c.readBytes.Load(), HitBytes: c.hitBytes.Load(), WriteBytes: c.writeBytes.Load(),
	}
}

// zeroBlock is what isZero compares with.
var zeroBlock [4096]byte

func isZero(b []byte) bool {
	for len(b) > len(zeroBlock) {
		if !bytes.Equal(b[:len(zeroBlock)], zeroBlock[:]) {
			return false
		}
		b = b[len(zeroBlock):]
	}
	return bytes.Equal(b, zeroBlock[:len(b)])
}
