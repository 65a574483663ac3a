package blockdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// keptSlots is fewer than the blocks of an oddDisk, and enough for what the tests write.
const keptSlots = 700

var keptHeader = header{seed: 4711, size: odd, slots: keptSlots, below: Identity{1, 2, 3}}

// kept is memory as a keeper has it: it outlives the caches that use it.
type kept struct{ table, data []byte }

func newKeptMemory() *kept {
	return &kept{table: make([]byte, mapSize(blocksOf(odd))), data: make([]byte, keptSlots*CacheBlock)}
}

func (k *kept) cache(t testing.TB, make func(table, data *memory) (*WriteCache, error), seam func(dst, src []byte)) (*WriteCache, error) {
	t.Helper()
	return make(&memory{bytes: k.table, seam: seam}, &memory{bytes: k.data, seam: seam})
}

func (k *kept) fresh(t testing.TB, seam func(dst, src []byte)) (*WriteCache, error) {
	return k.cache(t, func(table, data *memory) (*WriteCache, error) {
		return newKept(NewMemoryOf(oddDisk, true), keptHeader, table, data, nil)
	}, seam)
}

// recover is what RecoverWriteCache does with files.
func (k *kept) recover(t testing.TB) (*WriteCache, error) {
	h, err := parseHeader(k.table)
	if err != nil {
		return nil, err
	}
	if h != keptHeader {
		return nil, errors.New("another disk's")
	}
	return k.cache(t, func(table, data *memory) (*WriteCache, error) {
		return recovered(NewMemoryOf(oddDisk, true), h, table, data, nil)
	}, nil)
}

// change is one operation on a disk.
type change struct {
	kind        int // write, write of zeros, trim
	off, length int64
	data        []byte
}

func changes(seed uint64, n int) []change {
	random := rand.New(rand.NewPCG(seed, 23))
	list := make([]change, n)
	for i := range list {
		c := change{kind: random.IntN(4)}
		c.off, c.length = anywhere(random, odd)
		if i == n/2 { // a leaf that goes away whole
			c.kind, c.off, c.length = 3, 0, leafBlocks*CacheBlock
		}
		if c.kind < 2 {
			c.length = min(c.length, 5*CacheBlock)
			c.data = noise[i*100:][:c.length]
		}
		list[i] = c
	}
	return list
}

func (c change) do(d Device) error {
	switch c.kind {
	case 2:
		return d.WriteZeroes(context.Background(), c.off, c.length)
	case 3:
		return d.Trim(context.Background(), c.off, c.length)
	}
	return d.WriteAt(context.Background(), c.data, c.off)
}

func (c change) model(disk []byte) []byte {
	m := model{bytes.Clone(disk)}
	switch c.kind {
	case 2:
		clear(m.disk[c.off : c.off+c.length])
	case 3:
		m.trim(c.off, c.length)
	default:
		copy(m.disk[c.off:], c.data)
	}
	return m.disk
}

// A process that dies at any store to its memory, with any part of that store done, has lost no write that was answered; of
// the one that was not, each byte is old or new, and all of a block is where it had no data before. What follows goes on as if
// nothing had been.
func TestAWriterThatDiesAnywhereLosesNothing(t *testing.T) {
	for seed := range uint64(3) {
		list := changes(seed, 16)
		states := [][]byte{oddDisk} // before each change, and after the last
		for i, change := range list {
			states = append(states, change.model(states[i]))
		}
		stores := 0
		died, _ := runUntil(t, list, newKeptMemory(), func(_, _ []byte) { stores++ })
		if died != len(list) {
			t.Fatalf("change %d failed without any reason", died)
		}
		t.Logf("seed %d: %d stores", seed, stores)
		random := rand.New(rand.NewPCG(seed, 29))
		for n := 1; n <= stores; n++ {
			k, left := newKeptMemory(), n
			died, hadData := runUntil(t, list, k, func(dst, src []byte) {
				if left--; left == 0 {
					copy(dst[:random.IntN(min(len(dst), len(src))+1)], src)
					runtime.Goexit()
				}
			})
			if died < 0 { // while it was made: nothing was attached yet
				continue
			}
			checkSuccessor(t, fmt.Sprintf("seed %d, store %d of %d", seed, n, stores), k, list, states, died, hadData)
			if t.Failed() {
				return
			}
		}
	}
}

// runUntil makes the changes until the seam ends the goroutine, and says in which that was: -1 before the first, len(list)
// after the last; and which blocks had data before it.
func runUntil(t *testing.T, list []change, k *kept, seam func(dst, src []byte)) (at int, hadData []bool) {
	t.Helper()
	done := make(chan struct{})
	at, hadData = -1, make([]bool, blocksOf(odd))
	var c *WriteCache
	go func() { // ends with the changes, or at the seam; waited for below
		defer close(done)
		var err error
		if c, err = k.fresh(t, seam); err != nil {
			t.Error(err)
			return
		}
		for i, change := range list {
			for b := range hadData {
				hadData[b] = c.kind(int64(b)) == firstData
			}
			at = i
			if err := change.do(c); err != nil {
				t.Error(err)
				return
			}
		}
		at = len(list)
	}()
	<-done
	if c != nil { // its filler must not touch memory that is a successor's
		c.pool.close()
		c.filling.Wait()
	}
	return at, hadData
}

func checkSuccessor(t *testing.T, when string, k *kept, list []change, states [][]byte, died int, hadData []bool) {
	t.Helper()
	c, err := k.recover(t)
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	old, changed := states[died], states[min(died+1, len(list))]
	got := make([]byte, odd)
	if err := c.ReadAt(context.Background(), got, 0); err != nil {
		t.Fatal(err)
	}
	for b := range blocksOf(odd) {
		end := min(odd, (b+1)*CacheBlock)
		is, was, will := got[b*CacheBlock:end], old[b*CacheBlock:end], changed[b*CacheBlock:end]
		if bytes.Equal(is, was) || bytes.Equal(is, will) {
			continue
		}
		for i := range is {
			if is[i] != was[i] && is[i] != will[i] || !hadData[b] {
				t.Errorf("%s, in change %d (%+v): byte %d of block %d is %#x, was %#x and should become %#x; the block had data: %v",
					when, died, list[min(died, len(list)-1)].kind, i, b, is[i], was[i], will[i], hadData[b])
				return
			}
		}
	}
	// The block layer sends again what was not answered.
	for _, change := range list[died:] {
		if err := change.do(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.ReadAt(context.Background(), got, 0); err != nil || !bytes.Equal(got, states[len(list)]) {
		t.Errorf("%s: the successor goes on wrong (%v)", when, err)
	}
	data := int64(0)
	for b := range blocksOf(odd) {
		if c.kind(b) == firstData {
			data += CacheBlock
		}
	}
	if used := c.Stats().Used; used != data {
		t.Errorf("%s: %d bytes are used and %d said to be", when, data, used)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Whatever happens to a map, no read brings anything but what was written: it is recovered right or not at all, and a map
// that is damaged while it is used ends everything.
func FuzzADamagedMap(f *testing.F) {
	k := newKeptMemory()
	c, err := k.fresh(f, nil)
	if err != nil {
		f.Fatal(err)
	}
	truth := bytes.Clone(oddDisk)
	for _, change := range changes(5, 24) {
		truth = change.model(truth)
		if err := change.do(c); err != nil {
			f.Fatal(err)
		}
	}
	c.Close()
	k = &kept{table: slices.Clone(k.table), data: slices.Clone(k.data)}
	records := uint32(recordsAt(leavesOf(blocksOf(odd))))
	f.Add(uint32(0), []byte{1}, uint32(0), false)
	f.Add(uint32(24), []byte{0, 0, 0, 0, 0, 0, 0, 1}, uint32(0), false)
	f.Add(uint32(leavesAt), []byte{2}, uint32(0), true)
	f.Add(records+80, []byte{1}, uint32(0), true)
	f.Add(records, []byte(nil), records+8, false)
	f.Add(records+16, bytes.Repeat([]byte{255}, 8), uint32(0), true)
	f.Fuzz(func(t *testing.T, at uint32, flip []byte, from uint32, later bool) {
		k := &kept{table: slices.Clone(k.table), data: slices.Clone(k.data)}
		damage := func() {
			at, from := int(at)%len(k.table), int(from)%len(k.table)
			if len(flip) == 0 { // a word in the place of another one
				copy(k.table[at&^7:][:8], k.table[from&^7:][:8])
			}
			for i := range min(len(flip), len(k.table)-at) {
				k.table[at+i] ^= flip[i]
			}
		}
		if !later {
			damage()
		}
		c, err := k.recover(t)
		if err != nil {
			return
		}
		defer c.Close()
		if later {
			damage()
		}
		got := make([]byte, 3*CacheBlock)
		for off := int64(0); off < odd; off += int64(len(got)) {
			p := got[:min(int64(len(got)), odd-off)]
			if err := c.ReadAt(context.Background(), p, off); err == nil && !bytes.Equal(p, truth[off:][:len(p)]) {
				t.Fatalf("%d bytes at %d are not what was written", len(p), off)
			}
		}
	})
}
