package engine

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/spate-project/spate/stream/wire"
)

// simImage is a vDisk as the wire sees it: objects of stored bytes.
type simImage struct {
	disk   wire.Disk
	levels [][][]byte // objects
	joined [][]byte   // all objects of a level
	begins [][]int    // where each object begins there, and where the last ends
}

// object names a chunk or a page.
type object struct {
	level uint8
	index int64
}

const simChunk = 8192

func newSimImage(rng *rand.Rand, chunks int) *simImage {
	im := &simImage{disk: wire.Disk{
		Name: "sim", Number: 1, Size: int64(chunks) * simChunk, SectorSize: 512, ChunkSize: simChunk, Mode: wire.ModeStandard,
		Content: wire.Content{Timestamp: 42},
	}}
	for i := range im.disk.Content.Root {
		im.disk.Content.Root[i] = byte(rng.Uint32())
	}
	level := make([][]byte, chunks)
	for i := range level {
		var n int
		switch rng.IntN(4) {
		case 0: // zero chunk
		case 1:
			n = simChunk
		default:
			n = 1 + rng.IntN(simChunk)
		}
		level[i] = randomBytes(rng, n)
	}
	im.levels = append(im.levels, level)
	for n := (chunks + Fanout - 1) / Fanout; ; n = (n + Fanout - 1) / Fanout {
		pages := make([][]byte, n)
		for i := range pages {
			pages[i] = randomBytes(rng, 36*min(Fanout, len(im.levels[len(im.levels)-1])-i*Fanout))
		}
		im.levels = append(im.levels, pages)
		im.disk.Levels++
		if n == 1 {
			break
		}
	}
	for _, level := range im.levels {
		begins := []int{0}
		var joined []byte
		for _, o := range level {
			joined = append(joined, o...)
			begins = append(begins, len(joined))
		}
		im.joined, im.begins = append(im.joined, joined), append(im.begins, begins)
	}
	return im
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:i+8:i+8], rng.Uint64())
	}
	return b
}

// answer is not to be changed.
func (im *simImage) answer(level uint8, first int64, count int) []byte {
	return im.joined[level][im.begins[level][first]:im.begins[level][first+int64(count)]]
}

// firstDifference is the object of an answer in which b differs from what it
// should be, -1 when it does not differ.
func (im *simImage) firstDifference(level uint8, first int64, count int, b []byte) int64 {
	if string(b) == string(im.answer(level, first, count)) {
		return -1
	}
	at := 0
	for i, o := range im.levels[level][first : first+int64(count)] {
		if at+len(o) > len(b) || string(o) != string(b[at:at+len(o)]) {
			return first + int64(i)
		}
		at += len(o)
	}
	return first
}

// simBuffer is an answer's memory; it is freed once.
type simBuffer struct {
	w     *world
	b     []byte
	freed bool
}

func (b *simBuffer) Bytes() []byte { return b.b }
func (b *simBuffer) Free() {
	if b.freed {
		b.w.fail("a buffer is freed twice")
	}
	b.freed, b.b = true, nil
}
