package tree

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/zeebo/blake3"
)

const (
	// FormatVersion is the version of the tree's form; it is hashed into every root.
	FormatVersion = 1
	// MinChunk is the smallest chunk size, in bytes.
	MinChunk = 4 << 10
	// MaxChunk is the greatest chunk size, in bytes.
	MaxChunk = 1 << 20
	// MaxSize bounds the size of a disk in bytes (1 EiB), so that no product of an index overflows.
	MaxSize = 1 << 60
	// MaxLevels is the number of page levels of a disk of MaxSize with chunks of MinChunk.
	MaxLevels = 8

	fanoutShift = 6
	rootHead    = 40
	rootDomain  = "spate vdisk tree"
)

// Shape is what the sizes of a disk say about its tree. Sizes are in bytes.
type Shape struct {
	Size       int64  // of the disk; a multiple of SectorSize
	SectorSize uint32 // 512 or 4096
	ChunkSize  uint32 // a power of two from MinChunk to MaxChunk
}

// Validate says what is wrong with the sizes. The other methods want a valid Shape.
func (s Shape) Validate() error {
	if s.SectorSize != 512 && s.SectorSize != 4096 {
		return fmt.Errorf("sector size %d: must be 512 or 4096", s.SectorSize)
	}
	if s.ChunkSize < MinChunk || s.ChunkSize > MaxChunk || bits.OnesCount32(s.ChunkSize) != 1 {
		return fmt.Errorf("chunk size %d: must be a power of two from %d to %d", s.ChunkSize, MinChunk, MaxChunk)
	}
	if s.Size <= 0 || s.Size > MaxSize {
		return fmt.Errorf("disk size %d: must be from 1 sector to %d bytes", s.Size, int64(MaxSize))
	}
	if s.Size%int64(s.SectorSize) != 0 {
		return fmt.Errorf("disk size %d: must be a multiple of the sector size %d", s.Size, s.SectorSize)
	}
	return nil
}

// Chunks is the number of chunks, the last of which may be short.
func (s Shape) Chunks() int64 {
	return (s.Size + int64(s.ChunkSize) - 1) / int64(s.ChunkSize)
}

// Levels is the number of page levels, at least 1; the top page is (Levels(), 0).
func (s Shape) Levels() int {
	levels := 1
	for n := s.Chunks(); n > Fanout; n = (n + Fanout - 1) >> fanoutShift {
		levels++
	}
	return levels
}

// Count is the number of objects at a level: chunks at 0, pages above; 0 where there is no such level.
func (s Shape) Count(level int) int64 {
	n := s.Chunks()
	if level < 0 || level > s.Levels() {
		return 0
	}
	for range level {
		n = (n + Fanout - 1) >> fanoutShift
	}
	return n
}

// Entries is the number of entries of page (level, index); 0 where there is no such page.
func (s Shape) Entries(level int, index int64) int {
	if level < 1 || index < 0 || index >= s.Count(level) {
		return 0
	}
	return int(min(Fanout, s.Count(level-1)-index<<fanoutShift))
}

// ChunkLength is the logical length of chunk i in bytes; 0 where there is no such chunk.
func (s Shape) ChunkLength(i int64) int {
	if i < 0 || i >= s.Chunks() {
		return 0
	}
	return int(min(int64(s.ChunkSize), s.Size-i*int64(s.ChunkSize)))
}

// Root names a disk of this shape with that top page, and what it is booted with: boot is the digest of that, zero where
// there is nothing.
func (s Shape) Root(top []byte, boot Hash) Hash {
	var head [rootHead]byte
	copy(head[:], rootDomain)
	binary.LittleEndian.PutUint32(head[16:], FormatVersion)
	binary.LittleEndian.PutUint32(head[20:], s.SectorSize)
	binary.LittleEndian.PutUint32(head[24:], s.ChunkSize)
	binary.LittleEndian.PutUint32(head[28:], Fanout)
	binary.LittleEndian.PutUint64(head[32:], uint64(s.Size))
	h := blake3.New()
	_, _ = h.Write(head[:]) // a hash cannot fail
	_, _ = h.Write(top)
	if boot != (Hash{}) {
		_, _ = h.Write(boot[:]) // the length of top follows from the shape: it cannot be taken for a part of it
	}
	var root Hash
	h.Sum(root[:0])
	return root
}
