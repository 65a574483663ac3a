package blockdev

import "context"

// Trim implements Device: whole blocks inside the range become zeros and their memory is given back; parts of blocks
// stay as they are.
func (c *WriteCache) Trim(_ context.Context, off, length int64) error {
	if err := CheckRange(off, length, c.size); err != nil {
		return err
	}
	first, last := c.wholeBlocks(off, off+length)
	return c.zeroBlocks(first, last)
}

// WriteZeroes implements Device. It takes memory only for parts of blocks that the base has, and may wait for that.
func (c *WriteCache) WriteZeroes(ctx context.Context, off, length int64) error {
	if err := CheckRange(off, length, c.size); err != nil {
		return err
	}
	end := off + length
	first, last := c.wholeBlocks(off, end)
	if first > last { // parts of one block or of two
		if cut := min(length, CacheBlock-off%CacheBlock); cut < length {
			if err := c.write(ctx, true, zeroBlock[:cut], off); err != nil {
				return err
			}
			off, length = off+cut, length-cut
		}
		return c.write(ctx, true, zeroBlock[:length], off)
	}
	if head := first*CacheBlock - off; head > 0 {
		if err := c.write(ctx, true, zeroBlock[:head], off); err != nil {
			return err
		}
	}
	if err := c.zeroBlocks(first, last); err != nil {
		return err
	}
	if tail := min(c.size, (last+1)*CacheBlock); tail < end {
		return c.write(ctx, true, zeroBlock[:end-tail], tail)
	}
	return nil
}

// wholeBlocks are the first and the last block that lie in [off, end) whole; first > last when there is none.
func (c *WriteCache) wholeBlocks(off, end int64) (first, last int64) {
	first = (off + CacheBlock - 1) / CacheBlock
	last = end/CacheBlock - 1
	if end == c.size && off < end {
		last = c.blocks - 1 // which may be short
	}
	return first, last
}

// zeroBlocks makes blocks zero and gives their memory back.
func (c *WriteCache) zeroBlocks(first, last int64) error {
	c.life.RLock()
	defer c.life.RUnlock()
	freed := c.slotsFreed.Get().(*[]slot)
	defer c.slotsFreed.Put(freed)
	for first <= last {
		leaf := first / leafBlocks
		end := min(last, (leaf+1)*leafBlocks-1)
		whole := first == leaf*leafBlocks && end == min((leaf+1)*leafBlocks, c.blocks)-1
		if err := c.zeroInLeaf(freed, leaf, first, end, whole); err != nil {
			return err
		}
		c.pool.give(*freed)
		first = end + 1
	}
	return nil
}

func (c *WriteCache) zeroInLeaf(freed *[]slot, leaf, first, last int64, whole bool) error {
	lock := c.blockMap.lock(leaf)
	lock.Lock()
	defer lock.Unlock()
	if err := c.usable(); err != nil {
		return err
	}
	var ok bool
	if *freed, ok = c.blockMap.zero((*freed)[:0], leaf, first, last, whole); !ok {
		return c.damage()
	}
	return nil
}

// Extent implements Mapper: what was trimmed or zeroed is known to be zero, what was never written is as the base says.
func (c *WriteCache) Extent(ctx context.Context, off, length int64) (n int64, zero bool, err error) {
	if err := CheckRange(off, length, c.size); err != nil {
		return 0, false, err
	}
	kind, n, err := c.run(off, length)
	if err != nil || kind != entryBase {
		return n, kind == entryZero, err
	}
	if c.mapBase == nil {
		return n, false, nil
	}
	return c.mapBase.Extent(ctx, off, n)
}

// run is the length of the run of bytes at off that have one state, and that state, with firstData for all data. It ends
// at the end of the leaf at the latest.
func (c *WriteCache) run(off, length int64) (kind entry, n int64, err error) {
	block := off / CacheBlock
	leaf := block / leafBlocks
	lock := c.blockMap.lock(leaf)
	lock.RLock()
	defer lock.RUnlock()
	if err := c.usable(); err != nil {
		return 0, 0, err
	}
	kind = c.kind(block)
	if kind == entryDamaged {
		return 0, 0, c.damage()
	}
	end := min(off+length, (leaf+1)*leafBlocks*CacheBlock)
	at := (block + 1) * CacheBlock
	if c.blockMap.leaves[leaf] != mixed {
		at = end
	}
	for at < end && c.kind(at/CacheBlock) == kind {
		at += CacheBlock
	}
	return kind, min(at, end) - off, nil
}

// kind is the state of a block, with firstData for all data.
func (c *WriteCache) kind(block int64) entry {
	if e := c.blockMap.get(block); e == entryDamaged || !e.isData() {
		return e
	}
	return firstData
}

// Prefetch implements Prefetcher; where the base cannot, nothing is done.
func (c *WriteCache) Prefetch(ctx context.Context, off, length int64) error {
	if c.fetchBase == nil {
		return CheckRange(off, length, c.size)
	}
	return c.fetchBase.Prefetch(ctx, off, length)
}
