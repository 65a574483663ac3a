//go:build !race

package vdisk

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

// A sparse disk of 4 TiB is assembled, opened and read in little memory and little space: nothing in either
// direction grows with the disk.
func TestAHugeSparseDiskTakesLittleMemoryAndSpace(t *testing.T) {
	const chunk = 64 << 10
	shape := tree.Shape{Size: 4<<40 + 512, SectorSize: 512, ChunkSize: chunk}
	path := filepath.Join(t.TempDir(), "huge.0.spate")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := bufio.NewWriter(f)
	_, _ = out.Write(make([]byte, dataStart))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	a := newAssembler(out)
	noise := image(7, chunk)
	noise[0] = 1
	used := map[int64]bool{0: true, 63: true, 64: true, 1 << 20: true, 5<<20 + 77: true, 1<<26 - 1: true}
	for i := range shape.Chunks() {
		e, stored := tree.Entry{}, []byte(nil)
		if used[i] {
			stored = noise
			e = tree.Entry{Kind: tree.Raw, Length: chunk, Hash: tree.Sum(noise)}
		}
		if err := a.chunk(e, stored); err != nil {
			t.Fatal(err)
		}
	}
	top, err := a.finish()
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 8<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
	s := &seal{sequence: 1, file: a.offset + slots*blockSize, stored: a.stored, zeros: a.zeros, raws: a.raws, top: a.top,
		id: ID{Root: shape.Root(top, tree.Hash{})}, description: description{shape: shape, name: "huge"}}
	for range slots {
		_, _ = out.Write(encodeSeal(s))
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(encodeHeader(&s.description), 0); err != nil {
		t.Fatal(err)
	}
	if s.file > int64(len(used))*chunk+1<<20 {
		t.Errorf("the file has %d bytes", s.file)
	}
	v := open(t, path)
	p := make([]byte, 2*chunk)
	for i := range used {
		if err := v.Check(0, i); err != nil {
			t.Error(err)
		}
		n, total, err := v.ReadAnswer(p, 0, max(0, i-1), 2, 0)
		if err != nil || total != int64(n) || n < chunk || !bytes.Equal(p[:chunk], noise) {
			t.Errorf("chunk %d: %d of %d bytes, error %v", i, n, total, err)
		}
	}
	if n, total, err := v.ReadAnswer(p, 0, 1<<25, 1000, 0); n != 0 || total != 0 || err != nil {
		t.Errorf("a hole: %d of %d bytes, error %v", n, total, err)
	}
}
