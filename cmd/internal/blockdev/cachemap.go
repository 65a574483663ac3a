package blockdev

import (
	"encoding/binary"
	"sync"
)

const (
	// leafBlocks is how many blocks one leaf of the map describes: 4 MiB of disk by one page of the map.
	leafBlocks = 1024
	entrySize  = 4
	leafSize   = leafBlocks * entrySize
	// stripes is how many locks the leaves share.
	stripes = 64
)

// entry is the state of a block: base, zero, or data in the pool's slot entry-firstData.
type entry uint32

const (
	entryBase entry = 0 // what fresh memory says
	entryZero entry = 1
	firstData entry = 2
	maxSlots        = 1<<32 - 1 - int64(firstData)
)

func (e entry) isData() bool { return e >= firstData }
func (e entry) slot() slot   { return slot(e - firstData) }
func dataIn(s slot) entry    { return entry(s) + firstData }

// uniform says that all blocks of a leaf have one state, and then its page of the map is not used.
type uniform uint8

const (
	allBase uniform = iota
	allZero
	mixed
)

// blockMap says for each block of the disk where its content is. It takes up 1/1024 of the disk at most, and nothing for
// parts that were never written or were trimmed whole. Its methods need the lock of the leaf.
type blockMap struct {
	locks  [stripes]sync.RWMutex // of the leaves by their number, of their pages, and of the slots these name
	leaves []uniform
	table  *memory
}

func newBlockMap(blocks int64) (*blockMap, error) {
	leaves := (blocks + leafBlocks - 1) / leafBlocks
	table, err := newMemory(max(1, leaves) * leafSize)
	if err != nil {
		return nil, err
	}
	return &blockMap{leaves: make([]uniform, leaves), table: table}, nil
}

func (m *blockMap) lock(leaf int64) *sync.RWMutex { return &m.locks[leaf%stripes] }

func (m *blockMap) get(block int64) entry {
	switch m.leaves[block/leafBlocks] {
	case allBase:
		return entryBase
	case allZero:
		return entryZero
	}
	return entry(binary.NativeEndian.Uint32(m.table.bytes[block*entrySize:]))
}

func (m *blockMap) set(block int64, e entry) {
	leaf := block / leafBlocks
	switch was := m.leaves[leaf]; {
	case was == allBase && e == entryBase || was == allZero && e == entryZero:
		return
	case was == allZero:
		page := m.table.bytes[leaf*leafSize : (leaf+1)*leafSize]
		for i := 0; i < leafSize; i += entrySize {
			binary.NativeEndian.PutUint32(page[i:], uint32(entryZero))
		}
	}
	m.leaves[leaf] = mixed
	binary.NativeEndian.PutUint32(m.table.bytes[block*entrySize:], uint32(e))
}

// zero makes blocks first to last of one leaf zero and appends the slots that nobody needs now.
func (m *blockMap) zero(dst []slot, leaf, first, last int64, whole bool) []slot {
	if m.leaves[leaf] == mixed {
		for b := first; b <= last; b++ {
			if e := m.get(b); e.isData() {
				dst = append(dst, e.slot())
			}
		}
	}
	if whole {
		if m.leaves[leaf] == mixed {
			m.table.discard(leaf*leafSize, leafSize)
		}
		m.leaves[leaf] = allZero
		return dst
	}
	for b := first; b <= last; b++ {
		m.set(b, entryZero)
	}
	return dst
}
