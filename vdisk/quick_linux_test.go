package vdisk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

// What a read without waiting gives is what a read gives, at every level and cut; a file that was just written is in
// memory, so most of them give something where the file system can tell at all.
func TestAReadWithoutWaitingGivesTheSameOrNothing(t *testing.T) {
	v := open(t, write(t, t.TempDir(), image(71, 4<<20), options(tree.MinChunk, tree.CodecZstd)).Path)
	rnd := rand.New(rand.NewPCG(71, 1))
	var want, got [100 << 10]byte
	quick := 0
	for range 2000 {
		level := rnd.IntN(v.Shape().Levels() + 1)
		count := 1 + rnd.Int64N(min(64, v.Shape().Count(level)))
		first := rnd.Int64N(v.Shape().Count(level) - count + 1)
		from, room := rnd.Int64N(64<<10), rnd.IntN(len(want))
		n, total, err := v.ReadAnswer(want[:room], level, first, int(count), from)
		if err != nil {
			t.Fatal(err)
		}
		m, all, ok := v.TryReadAnswer(got[:room], level, first, int(count), from)
		if !ok {
			continue
		}
		quick++
		if m != n || all != total || n > 0 && !bytes.Equal(got[:n], want[:n]) {
			t.Fatalf("level %d, %d+%d from %d: %d of %d bytes, want %d of %d", level, first, count, from, m, all, n, total)
		}
	}
	if q, ok := v.data.(*quickFile); ok && !q.off.Load() && quick < 1000 {
		t.Errorf("only %d of 2000 reads of a file in memory needed no waiting", quick)
	}
}

// A read without waiting knows nothing of errors: it leaves them to the read that may wait.
func TestAReadWithoutWaitingTellsNothingOfErrors(t *testing.T) {
	s := write(t, t.TempDir(), image(72, 1<<20), options(tree.MinChunk, tree.CodecZstd))
	v := open(t, s.Path)
	if _, _, ok := v.TryReadAnswer(make([]byte, 10), 0, v.Shape().Chunks(), 1, 0); ok {
		t.Error("a chunk behind the end was read")
	}
	if err := os.Truncate(s.Path, blockSize); err != nil {
		t.Fatal(err)
	}
	for i := range v.Shape().Chunks() {
		if n, _, ok := v.TryReadAnswer(make([]byte, 10), 0, i, 1, 0); ok && n > 0 {
			t.Fatalf("chunk %d was read behind the file's end", i)
		}
	}
}
