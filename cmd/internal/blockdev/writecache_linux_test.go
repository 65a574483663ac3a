//go:build !race

package blockdev

import (
	"bytes"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// resident is the memory that this process takes up, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// huge is a disk of zeros with no memory of its own.
type huge struct{ *Memory }

func (huge) Size() int64 { return 4 << 40 }

// A cache takes up what was written and no more, on a disk of any size, and gives it back when that is trimmed.
func TestTrimGivesMemoryBack(t *testing.T) {
	if os.Getpagesize() > CacheBlock {
		t.Skip("needs pages of 4 KiB")
	}
	const written = 128 << 20
	debug.FreeOSMemory() // what earlier tests left must not be given back meanwhile
	before := resident(t)
	c := newCache(t, huge{NewMemory(0)}, 1<<40, nil)
	ctx := context.Background()
	data := bytes.Repeat([]byte("w"), 1<<20)
	for off := int64(0); off < written; off += 1 << 20 {
		if err := c.WriteAt(ctx, data, off*31); err != nil {
			t.Fatal(err)
		}
	}
	if grown := resident(t) - before; grown < written/2 || grown > written+written/4 {
		t.Errorf("%d MiB written take up %d MiB", written>>20, grown>>20)
	}
	if err := c.Trim(ctx, 0, 4<<40); err != nil {
		t.Fatal(err)
	}
	if grown := resident(t) - before; grown > written/4 {
		t.Errorf("%d MiB are still taken up after the trim of everything", grown>>20)
	}
	if used := c.Stats().Used; used != 0 {
		t.Errorf("%d bytes are said to be used", used)
	}
}
