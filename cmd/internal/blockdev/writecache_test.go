package blockdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// odd is a disk length that ends inside a block, and covers one leaf of the map and a bit.
const odd = leafBlocks*CacheBlock + 5*CacheBlock + 1536

// oddDisk is the base of most tests; nobody may write to it.
var oddDisk = pattern(odd)

func newCache(t testing.TB, base Device, maxBytes int64, notice func(Notice)) *WriteCache {
	t.Helper()
	c, err := NewWriteCache(base, maxBytes, notice)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// noise is random data to write, from any of its first 64 KiB on.
var noise = func() []byte {
	b, random := make([]byte, odd+1<<16), rand.New(rand.NewPCG(17, 17))
	for i := 0; i < len(b)-8; i += 8 {
		be.PutUint64(b[i:], random.Uint64())
	}
	return b
}()

// model is what the cache must be: a plain array, and which bytes a trim may have left alone (none, as we define it).
type model struct{ disk []byte }

func (m *model) trim(off, length int64) {
	first, last := (off+CacheBlock-1)/CacheBlock*CacheBlock, (off+length)/CacheBlock*CacheBlock
	if off+length == int64(len(m.disk)) {
		last = off + length
	}
	if first < last {
		clear(m.disk[first:last])
	}
}

// anywhere is a random range, often small, often aligned, sometimes at the end, and now and then most of the disk.
func anywhere(random *rand.Rand, size int64) (off, length int64) {
	off = random.Int64N(size)
	length = min(random.Int64N(20_000), size-off)
	switch random.IntN(6) {
	case 0:
		off, length = off&^(CacheBlock-1), length&^(CacheBlock-1)
	case 1:
		off = size - length
	case 2:
		off = off / 512 * 512
		length = min(512, size-off)
	case 3:
		if random.IntN(8) == 0 {
			off = random.Int64N(3) * CacheBlock
			length = min(leafBlocks*CacheBlock+random.Int64N(8192), size-off)
		}
	}
	return off, length
}

// Any sequence of operations leaves what it leaves in a plain array, whatever path it takes.
func TestTheWriteCacheIsAPlainArray(t *testing.T) {
	for seed := range uint64(6) {
		base := NewMemoryOf(oddDisk, true)
		base.Slow = seed%2 == 0
		c := newCache(t, base, odd+CacheBlock, nil)
		random := rand.New(rand.NewPCG(seed, 11))
		m := &model{bytes.Clone(oddDisk)}
		ctx := context.Background()
		for step := range 1500 {
			off, length := anywhere(random, odd)
			op := random.IntN(10)
			var err error
			switch {
			case op < 4:
				data := make([]byte, length)
				if random.IntN(4) > 0 {
					copy(data, noise[random.IntN(1<<16):])
				}
				copy(m.disk[off:], data)
				if random.IntN(2) == 0 || !c.TryWriteAt(data, off) {
					err = c.WriteAt(ctx, data, off)
				}
			case op < 5:
				m.trim(off, length)
				err = c.Trim(ctx, off, length)
			case op < 6:
				clear(m.disk[off : off+length])
				err = c.WriteZeroes(ctx, off, length)
			case op < 7:
				err = checkExtents(ctx, c, m.disk, off, length)
			default:
				got := bytes.Repeat([]byte{0xee}, int(length))
				if random.IntN(2) == 0 || !c.TryReadAt(got, off) {
					err = c.ReadAt(ctx, got, off)
				}
				if err == nil && !bytes.Equal(got, m.disk[off:off+length]) {
					err = errors.New("wrong bytes")
				}
			}
			if err != nil {
				t.Fatalf("seed %d, step %d, operation %d, %d bytes at %d: %v", seed, step, op, length, off, err)
			}
		}
		whole := make([]byte, odd)
		if err := c.ReadAt(ctx, whole, 0); err != nil || !bytes.Equal(whole, m.disk) {
			t.Errorf("seed %d: the disk differs at the end (%v)", seed, err)
		}
		if !bytes.Equal(oddDisk, pattern(odd)) {
			t.Error("the base was written")
		}
		if err := c.Trim(ctx, 0, odd); err != nil {
			t.Fatal(err)
		}
		if used := c.Stats().Used; used != 0 {
			t.Errorf("seed %d: %d bytes are used after everything was trimmed", seed, used)
		}
	}
}

// checkExtents asks for the map of a range and checks that it covers it and calls nothing zero that is not.
func checkExtents(ctx context.Context, c *WriteCache, disk []byte, off, length int64) error {
	for length > 0 {
		n, zero, err := c.Extent(ctx, off, length)
		if err != nil {
			return err
		}
		if n < 1 || n > length {
			return fmt.Errorf("an extent of %d of %d bytes", n, length)
		}
		if zero && len(bytes.Trim(disk[off:off+n], "\x00")) > 0 {
			return fmt.Errorf("%d bytes at %d are called zero and are not", n, off)
		}
		off, length = off+n, length-n
	}
	return nil
}

// Goroutines that write, zero, trim and read side by side, within the same blocks and leaves, each find their own.
func TestTheWriteCacheKeepsNeighboursApart(t *testing.T) {
	const workers, rounds, sector = 8, 1200, 512
	base := NewMemoryOf(oddDisk, true)
	base.Slow = true
	c := newCache(t, base, odd+CacheBlock, nil)
	var wg sync.WaitGroup
	for w := range int64(workers) {
		wg.Add(1)
		go func() { // ends after its rounds
			defer wg.Done()
			random := rand.New(rand.NewPCG(uint64(w), 13))
			mine := map[int64][]byte{} // by offset: a sector of a shared block, or a block of its own
			for range rounds {
				// Even blocks are shared by sectors, odd ones belong to one goroutine.
				block := random.Int64N(64) * 2
				off, n := block*CacheBlock+w*sector, int64(sector)
				if random.IntN(2) == 0 {
					off, n = (block/2*workers+w)%1000*2*CacheBlock+CacheBlock, CacheBlock
				}
				if err := stir(c, random, mine, off, n); err != nil {
					t.Errorf("worker %d at %d: %v", w, off, err)
					return
				}
			}
		}()
	}
	wg.Wait()
}

// stir does one thing to a range that is the caller's.
func stir(c *WriteCache, random *rand.Rand, mine map[int64][]byte, off, n int64) error {
	ctx := context.Background()
	want, known := mine[off]
	if !known {
		want = oddDisk[off : off+n]
	}
	switch random.IntN(5) {
	case 0, 1:
		mine[off] = bytes.Repeat([]byte{byte(random.Uint32())}, int(n))
		return c.WriteAt(ctx, mine[off], off)
	case 2:
		mine[off] = make([]byte, n)
		return c.WriteZeroes(ctx, off, n)
	case 3:
		if n == CacheBlock {
			mine[off] = make([]byte, n)
		}
		return c.Trim(ctx, off, n) // of a sector: nothing happens
	}
	got := make([]byte, n)
	if err := c.ReadAt(ctx, got, off); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read %x…, want %x…", got[:8], want[:8])
	}
	return nil
}

// When the cache is full, writes wait and it is said; a trim lets them go on, and that is said too. Nothing fails, and
// nothing that was written is lost or replaced.
func TestAFullCacheMakesWritesWait(t *testing.T) {
	const blocks, room = 64, 16
	notices := make(chan Notice, 100)
	c := newCache(t, NewMemoryOf(pattern(blocks*CacheBlock), true), room*CacheBlock, func(n Notice) { notices <- n })
	ctx := context.Background()
	data := bytes.Repeat([]byte("w"), (room+4)*CacheBlock)
	done := make(chan error)
	go func() { done <- c.WriteAt(ctx, data, 0) }() // ends when there is room
	if n := <-notices; !n.Full || n.Waiting != 1 || n.Used != n.Max || n.Max != room*CacheBlock {
		t.Errorf("%+v", n)
	}
	if c.TryWriteAt(data[:CacheBlock], 30*CacheBlock) {
		t.Error("a write that may not wait was taken by a full cache")
	}
	if !c.TryWriteAt(make([]byte, CacheBlock), 40*CacheBlock) || !c.TryWriteAt(data[:10], 5) {
		t.Error("zeros, and blocks that are there, need no room")
	}
	got := make([]byte, CacheBlock)
	if err := c.ReadAt(ctx, got, 50*CacheBlock); err != nil || !bytes.Equal(got, pattern(blocks * CacheBlock)[50*CacheBlock:51*CacheBlock]) {
		t.Errorf("a read beside the write that waits: %v", err)
	}
	if err := c.Trim(ctx, 0, 4*CacheBlock); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := c.Trim(ctx, 8*CacheBlock, 4*CacheBlock); err != nil {
		t.Fatal(err)
	}
	if n := <-notices; n.Full || n.Waiting != 0 {
		t.Errorf("%+v", n)
	}
	want := bytes.Clone(data)
	clear(want[:4*CacheBlock])
	clear(want[8*CacheBlock : 12*CacheBlock])
	whole := make([]byte, len(want))
	if err := c.ReadAt(ctx, whole, 0); err != nil || !bytes.Equal(whole, want) {
		t.Errorf("what was written is not there (%v)", err)
	}
	if s := c.Stats(); s.Used != 12*CacheBlock || s.Peak != room*CacheBlock || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// A write that waits ends with its context, and with the cache; reads after Close do not see the base.
func TestWaitingEndsWithTheContextAndTheCache(t *testing.T) {
	full := make(chan Notice, 10)
	c := newCache(t, NewMemoryOf(pattern(8*CacheBlock), true), CacheBlock, func(n Notice) { full <- n })
	data := bytes.Repeat([]byte("w"), 2*CacheBlock)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.WriteAt(ctx, data, 0) }() // ends with cancel
	<-full
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
	go func() { done <- c.WriteAt(context.Background(), data, 0) }() // ends with Close
	for c.Stats().Waiting == 0 {
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	ctx = context.Background()
	for name, err := range map[string]error{
		"read": c.ReadAt(ctx, data, 0), "write": c.WriteAt(ctx, data, 0), "trim": c.Trim(ctx, 0, 8192), "flush": c.Flush(ctx), "close": c.Close(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if c.TryReadAt(data, 0) || c.TryWriteAt(data, 0) {
		t.Error("the closed cache answers")
	}
}

// When the base cannot give the rest of a block, the write of a part of it fails; it is not completed with anything else.
func TestAPartOfABlockIsNotWrittenWithoutItsRest(t *testing.T) {
	base := NewMemoryOf(pattern(4*CacheBlock), true)
	broken := errors.New("no good copy")
	fail := true
	base.Before = func(context.Context, string, int64, int64) error {
		if fail {
			return broken
		}
		return nil
	}
	c := newCache(t, base, 4*CacheBlock, nil)
	ctx := context.Background()
	if err := c.WriteAt(ctx, []byte("part"), 100); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := c.WriteAt(ctx, bytes.Repeat([]byte("w"), CacheBlock), CacheBlock); err != nil {
		t.Errorf("a whole block needs no base: %v", err)
	}
	fail = false
	got := make([]byte, CacheBlock)
	if err := c.ReadAt(ctx, got, 0); err != nil || !bytes.Equal(got, pattern(CacheBlock)) {
		t.Errorf("the failed write left something (%v)", err)
	}
}

func TestSizesThatMakeNoCacheAreRefused(t *testing.T) {
	for _, n := range []int64{-1, 0, CacheBlock - 1} {
		if _, err := NewWriteCache(NewMemory(1<<20), n, nil); err == nil {
			t.Errorf("a cache of %d bytes was made", n)
		}
	}
	c := newCache(t, NewMemory(0), 1<<20, nil)
	if err := c.WriteAt(context.Background(), []byte("x"), 0); !errors.Is(err, ErrRange) {
		t.Errorf("a write to a disk of no bytes: %v", err)
	}
}
