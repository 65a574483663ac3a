//go:build !race

package vdisk

import (
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

// A server answers each read through ReadAnswer: known locators or unknown, it makes no garbage.
func TestReadAnswerDoesNotAllocate(t *testing.T) {
	v := open(t, write(t, t.TempDir(), image(61, 20<<20), options(tree.MinChunk, tree.CodecZstd)).Path)
	chunks := v.Shape().Chunks()
	p := make([]byte, 256<<10)
	for level := range v.Shape().Levels() + 1 {
		next := int64(0)
		if got := testing.AllocsPerRun(1000, func() {
			count := min(64, v.Shape().Count(level))
			if _, _, err := v.ReadAnswer(p, level, next%(v.Shape().Count(level)-count+1), int(count), 100); err != nil {
				t.Fatal(err)
			}
			v.TryReadAnswer(p, level, next%(v.Shape().Count(level)-count+1), int(count), 100)
			next += 61
		}); got != 0 {
			t.Errorf("level %d: %v allocations a call", level, got)
		}
	}
	// A cache that holds one set makes every lookup go down to the file.
	v.cache.sets = v.cache.sets[:1]
	next := int64(0)
	if got := testing.AllocsPerRun(1000, func() {
		if _, _, err := v.ReadAnswer(p, 0, next%chunks, 1, 0); err != nil {
			t.Fatal(err)
		}
		next += 67
	}); got != 0 {
		t.Errorf("cold: %v allocations a call", got)
	}
}
