package blockdev

import (
	"encoding/binary"
	"sync"
)

const (
	// leafBlocks is how many blocks one leaf of the map describes: 4 MiB of disk by two pages of the map.
	leafBlocks = 1024
	leafSize   = leafBlocks * wordSize
	// stripes is how many locks the leaves share.
	stripes = 64
)

// entry is the state of a block: base, zero, or data in the pool's slot entry-firstData.
type entry uint32

const (
	entryBase    entry = 0
	entryZero    entry = 1
	firstData    entry = 2
	entryDamaged entry = 1<<32 - 1 // what a record says that does not check
	maxSlots           = int64(entryDamaged) - int64(firstData)
)

func (e entry) isData() bool { return e >= firstData && e != entryDamaged }
func (e entry) slot() slot   { return slot(e - firstData) }
func dataIn(s slot) entry    { return entry(s) + firstData }

// uniform says that all blocks of a leaf have one state, and then its records of the map are not used.
type uniform uint8

const (
	allBase uniform = iota
	allZero
	mixed
)

// blockMap says for each block of the disk where its content is. It takes up 1/512 of the disk at most, and next to nothing
// for parts that were never written or were trimmed whole. Its methods need the lock of the leaf.
//
// It consists of words: a state in the lower half, a check in the upper one. A word is stored at once or not at all, so that a
// process can die anywhere and leave a map that is right. In memory, each with its place:
//
//	header   one page, see cachekeep.go; all zero where the map is not to be recovered
//	leaves   a word for each leaf: base, zero, or mixed
//	records  for each leaf leafBlocks words: those of its blocks, which mean something while the leaf is mixed
type blockMap struct {
	locks  [stripes]sync.RWMutex // of the leaves by their number, of their records, and of the slots these name
	leaves []uniform             // what the words of the leaves say
	seed   uint64                // of the checks: an old map in the same memory is none
	memory *memory

	pageMu sync.Mutex // guards page
	page   [leafSize]byte
}

// leavesAt is where the words of the leaves begin.
const leavesAt = headerSize

func leavesOf(blocks int64) int64 { return (blocks + leafBlocks - 1) / leafBlocks }

func recordsAt(leaves int64) int64 {
	return leavesAt + (leaves*wordSize+CacheBlock-1)/CacheBlock*CacheBlock
}

// mapSize is the size in bytes of the map of so many blocks.
func mapSize(blocks int64) int64 {
	leaves := leavesOf(blocks)
	return recordsAt(leaves) + leaves*leafSize
}

// newBlockMap makes a map in memory of zeros: all blocks are the base's.
func newBlockMap(m *memory, blocks int64, seed uint64) *blockMap {
	b := &blockMap{leaves: make([]uniform, leavesOf(blocks)), seed: seed, memory: m}
	for leaf := range b.leaves {
		b.setLeaf(int64(leaf), allBase)
	}
	return b
}

func (m *blockMap) lock(leaf int64) *sync.RWMutex { return &m.locks[leaf%stripes] }

// leafWord tells the words of leaves from those of blocks.
const leafWord = 1 << 63

// sealed is the word of a state. A word of zeros, or one from another place, never checks but by a chance of one in 2^32.
func (m *blockMap) sealed(place uint64, state uint32) uint64 {
	x := m.seed ^ place*0x9e3779b97f4a7c15 ^ uint64(state)<<32 // what follows is the finalizer of SplitMix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return (x^x>>31)<<32 | uint64(state)
}

func (m *blockMap) recordAt(block int64) int64 {
	return recordsAt(int64(len(m.leaves))) + block*wordSize
}

func (m *blockMap) setLeaf(leaf int64, u uniform) {
	m.memory.setWord(leavesAt+leaf*wordSize, m.sealed(leafWord|uint64(leaf), uint32(u)))
	m.leaves[leaf] = u
}

// get is the state of a block; entryDamaged when its record is not what was stored.
func (m *blockMap) get(block int64) entry {
	switch m.leaves[block/leafBlocks] {
	case allBase:
		return entryBase
	case allZero:
		return entryZero
	}
	w := m.memory.getWord(m.recordAt(block))
	if w != m.sealed(uint64(block), uint32(w)) {
		return entryDamaged
	}
	return entry(w)
}

// set is the moment at which a block has its new state.
func (m *blockMap) set(block int64, e entry) {
	leaf := block / leafBlocks
	switch was := m.leaves[leaf]; {
	case was == allBase && e == entryBase || was == allZero && e == entryZero:
		return
	case was == allBase:
		m.mix(leaf, entryBase)
	case was == allZero:
		m.mix(leaf, entryZero)
	}
	m.memory.setWord(m.recordAt(block), m.sealed(uint64(block), uint32(e)))
}

// mix gives each block of a uniform leaf a record.
func (m *blockMap) mix(leaf int64, e entry) {
	m.pageMu.Lock()
	defer m.pageMu.Unlock()
	first := leaf * leafBlocks
	for i := range int64(leafBlocks) {
		binary.NativeEndian.PutUint64(m.page[i*wordSize:], m.sealed(uint64(first+i), uint32(e)))
	}
	m.memory.store(m.recordAt(first), m.page[:])
	m.setLeaf(leaf, mixed)
}

// zero makes blocks first to last of one leaf zero and appends the slots that nobody needs now. False: the map is damaged,
// and nothing was done.
func (m *blockMap) zero(dst []slot, leaf, first, last int64, whole bool) ([]slot, bool) {
	was := m.leaves[leaf]
	if was == mixed {
		for b := first; b <= last; b++ {
			switch e := m.get(b); {
			case e == entryDamaged:
				return dst[:0], false
			case e.isData():
				dst = append(dst, e.slot())
			}
		}
	}
	if whole {
		m.setLeaf(leaf, allZero)
		if was == mixed {
			m.memory.discard(m.recordAt(leaf*leafBlocks), leafSize)
		}
		return dst, true
	}
	for b := first; b <= last; b++ {
		m.set(b, entryZero)
	}
	return dst, true
}
