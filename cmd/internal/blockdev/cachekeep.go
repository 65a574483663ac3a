package blockdev

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"math/rand/v2"
	"os"
)

// Kept is memory of a write cache that outlives the process: two files in memory, which somebody else holds open.
type Kept struct {
	Data, Map *os.File
	// Below names what the cache lies over: root and timestamp of the version.
	Below Identity
}

// Identity names the content under a write cache.
type Identity [40]byte

const (
	headerSize  = CacheBlock
	headerMagic = "SpateMap"
	headerUsed  = 80
	mapFormat   = 1
	// keptReserve is how many bytes of free memory a kept cache holds ready.
	keptReserve = 64 << 20
)

// header is the first page of a kept map:
//
//	 0  magic "SpateMap"
//	 8  format, 4 bytes
//	12  CRC-32C of bytes 16 to 80
//	16  seed of the checks, 8 bytes
//	24  size of the disk in bytes, 8 bytes
//	32  blocks of data, 8 bytes
//	40  identity of what lies below, 40 bytes
type header struct {
	seed  uint64
	size  int64
	slots slot
	below Identity
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h header) append(b []byte) []byte {
	body := be.AppendUint64(nil, h.seed)
	body = be.AppendUint64(body, uint64(h.size))
	body = be.AppendUint64(body, uint64(h.slots))
	body = append(body, h.below[:]...)
	b = append(b, headerMagic...)
	b = be.AppendUint32(b, mapFormat)
	b = be.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

// parseHeader reads a header; b has headerUsed bytes at least.
func parseHeader(b []byte) (h header, err error) {
	body := b[16:headerUsed]
	switch {
	case !bytes.Equal(b[:8], []byte(headerMagic)):
		return h, fmt.Errorf("%w: there is none", ErrDamaged)
	case be.Uint32(b[8:]) != mapFormat:
		return h, fmt.Errorf("it has format %d, this program knows format %d", be.Uint32(b[8:]), mapFormat)
	case be.Uint32(b[12:]) != crc32.Checksum(body, castagnoli):
		return h, ErrDamaged
	}
	h.seed = be.Uint64(body)
	h.size = int64(be.Uint64(body[8:]))
	slots := be.Uint64(body[16:])
	copy(h.below[:], body[24:])
	if h.size < 0 || slots < 1 || slots > uint64(maxSlots) {
		return h, ErrDamaged
	}
	h.slots = slot(slots)
	return h, nil
}

// NewKeptWriteCache is NewWriteCache in memory that outlives this process. Whatever the files held is gone. The files stay the
// caller's, who closes them after the cache.
//
// A process that dies at any instruction leaves all writes that were answered. Of one that was not, each byte is old or new;
// where the block had no data of its own before, all bytes of the block are. The block layer sends it again to a successor.
func NewKeptWriteCache(base Device, maxBytes int64, k Kept, notice func(Notice)) (*WriteCache, error) {
	slots, err := slotsFor(base.Size(), maxBytes)
	if err != nil {
		return nil, err
	}
	h := header{seed: rand.Uint64(), size: base.Size(), slots: slots, below: k.Below}
	for _, f := range []struct {
		file *os.File
		size int64
	}{{k.Map, mapSize(blocksOf(h.size))}, {k.Data, int64(slots) * CacheBlock}} {
		if err := errors.Join(f.file.Truncate(0), f.file.Truncate(f.size)); err != nil {
			return nil, fmt.Errorf("write cache: %w", err)
		}
	}
	table, data, err := mapKept(h, k)
	if err != nil {
		return nil, err
	}
	return newKept(base, h, table, data, notice)
}

func mapKept(h header, k Kept) (table, data *memory, err error) {
	if table, err = mapFile(k.Map, mapSize(blocksOf(h.size))); err != nil {
		return nil, nil, fmt.Errorf("map of the write cache: %w", err)
	}
	if data, err = mapFile(k.Data, int64(h.slots)*CacheBlock); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("data of the write cache: %w", err), table.free())
	}
	return table, data, nil
}

func newKept(base Device, h header, table, data *memory, notice func(Notice)) (*WriteCache, error) {
	p, err := newPool(data, h.slots, keptReserve/CacheBlock, notice)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write cache: %w", err), table.free())
	}
	m := newBlockMap(table, blocksOf(h.size), h.seed)
	table.store(0, h.append(nil)) // last: from here on the map can be recovered
	return newWriteCache(base, m, p), nil
}

// ErrOtherDisk says that a write cache lies over something else than was expected.
var ErrOtherDisk = errors.New("it is that of another disk, or of another version of it")

// RecoverWriteCache goes on with what a process that died left in kept memory. A map that does not check (ErrDamaged), or is that
// of another disk (ErrOtherDisk), is an error: what was written cannot be told then, and base must not be used as if nothing had
// been. All other errors are of this process or of this moment: the memory stays as it is, for another attempt.
func RecoverWriteCache(base Device, k Kept, notice func(Notice)) (*WriteCache, error) {
	head, err := mapFile(k.Map, headerSize)
	if err != nil {
		return nil, fmt.Errorf("recover the write cache: %w", err)
	}
	h, err := parseHeader(head.bytes)
	if err := errors.Join(err, head.free()); err != nil {
		return nil, fmt.Errorf("recover the write cache: %w", err)
	}
	if h.size != base.Size() || h.below != k.Below {
		return nil, fmt.Errorf("recover the write cache: %w", ErrOtherDisk)
	}
	table, data, err := mapKept(h, k)
	if err != nil {
		return nil, fmt.Errorf("recover the write cache: %w", err)
	}
	return recovered(base, h, table, data, notice)
}

func recovered(base Device, h header, table, data *memory, notice func(Notice)) (*WriteCache, error) {
	m, used, err := readBlockMap(table, blocksOf(h.size), h)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recover the write cache: %w", err), table.free(), data.free())
	}
	p, err := newPool(data, h.slots, keptReserve/CacheBlock, notice)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recover the write cache: %w", err), table.free())
	}
	p.resume(used)
	return newWriteCache(base, m, p), nil
}

// readBlockMap checks every word of a map, and says which slots it names.
func readBlockMap(table *memory, blocks int64, h header) (*blockMap, *slotSet, error) {
	m := &blockMap{leaves: make([]uniform, leavesOf(blocks)), seed: h.seed, memory: table}
	used := &slotSet{bits: make([]uint64, (int64(h.slots)+63)/64)}
	for leaf := range int64(len(m.leaves)) {
		w := table.getWord(leavesAt + leaf*wordSize)
		u := uint32(w)
		if w != m.sealed(leafWord|uint64(leaf), u) || u > uint32(mixed) {
			return nil, nil, ErrDamaged
		}
		m.leaves[leaf] = uniform(u)
		if m.leaves[leaf] != mixed {
			continue
		}
		for block := leaf * leafBlocks; block < (leaf+1)*leafBlocks; block++ {
			switch e := m.get(block); {
			case e == entryDamaged, e.isData() && (e.slot() >= h.slots || block >= blocks || !used.add(e.slot())):
				return nil, nil, ErrDamaged
			}
		}
	}
	return m, used, nil
}

// slotSet is a set of slots.
type slotSet struct{ bits []uint64 }

func (s *slotSet) has(n slot) bool { return s.bits[n/64]&(1<<(n%64)) != 0 }

// end is one more than the greatest slot of the set.
func (s *slotSet) end() slot {
	for i := len(s.bits) - 1; i >= 0; i-- {
		if s.bits[i] != 0 {
			return slot(64*i + bits.Len64(s.bits[i]))
		}
	}
	return 0
}

// add is false when n was there.
func (s *slotSet) add(n slot) bool {
	was := s.has(n)
	s.bits[n/64] |= 1 << (n % 64)
	return !was
}

// resume makes a pool of which some slots are used, as after a crash: the others may hold anything. Memory that is there
// becomes the reserve; it may be all that can be had.
func (p *pool) resume(used *slotSet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = used.end()
	for first := slot(0); first < p.next; first++ {
		end := first
		for end < p.next && !used.has(end) {
			end++
		}
		p.resumeRunLocked(first, end)
		first = end
	}
	for p.next < p.slots && p.reuseLocked(p.next) {
		p.next++
	}
	if rest := int64(p.slots - p.next); rest > 0 {
		p.data.discard(int64(p.next)*CacheBlock, rest*CacheBlock)
	}
	p.peak = p.usedLocked()
}

// resumeRunLocked takes the free blocks from first to before end. There may be a million, which must not cost a call of the system each
// while the disk is waited for.
func (p *pool) resumeRunLocked(first, end slot) {
	for first < end {
		there := end // the first that may be of use for the reserve
		if len(p.ready) < cap(p.ready) {
			there = min(end, slot(p.data.nextPresent(int64(first)*CacheBlock, int64(end)*CacheBlock)/CacheBlock))
		}
		if there > first {
			p.data.discard(int64(first)*CacheBlock, int64(there-first)*CacheBlock)
		}
		for ; first < there; first++ {
			p.pushLocked(first)
		}
		if first < end && p.reuseLocked(first) {
			first++
		}
	}
}

// reuseLocked puts a free block into the reserve if it has memory and the reserve has room.
func (p *pool) reuseLocked(s slot) bool {
	if len(p.ready) == cap(p.ready) || p.data.nextPresent(int64(s)*CacheBlock, int64(s+1)*CacheBlock) > int64(s)*CacheBlock {
		return false
	}
	p.data.discardKept(int64(s) * CacheBlock)
	p.ready = append(p.ready, s)
	return true
}
