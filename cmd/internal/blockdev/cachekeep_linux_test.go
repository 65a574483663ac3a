package blockdev

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func memfd(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f
}

// The list of requests lies behind the map, in the same file, and neither touches the other.
func TestTheListOfRequestsOutlivesItsProcess(t *testing.T) {
	base := NewMemoryOf(oddDisk, true)
	k := Kept{Data: memfd(t, "data"), Map: memfd(t, "map"), Below: Identity{9}}
	c, err := NewKeptWriteCache(base, 64*CacheBlock, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	for place, want := range []int{0, 1, maxInFlight} { // how many the last one left
		u, err := KeptUnanswered(k, base.Size())
		if err != nil {
			t.Fatal(err)
		}
		if got := u.take(); len(got) != want || len(u.take()) != 0 {
			t.Errorf("%d requests were left, not %d", len(got), want)
		}
		for i := range []int{1, maxInFlight, 0}[place] {
			u.note(&command{place: maxInFlight - 1 - i, request: request{kind: cmdRead, length: 4096, cookie: 7}}, &lag{})
		}
		if err := u.memory.free(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = RecoverWriteCache(base, k, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Free blocks that lie side by side are given back at once, as many as there are, but for those that have their memory and go into
// the reserve: a disk waits for a successor meanwhile.
func TestASuccessorFindsFreeBlocksInRuns(t *testing.T) {
	const slots, reserve = 1 << 16, 64
	f := memfd(t, "data")
	if err := f.Truncate(slots * CacheBlock); err != nil {
		t.Fatal(err)
	}
	data, err := mapFile(f, slots*CacheBlock)
	if err != nil {
		t.Fatal(err)
	}
	used := &slotSet{bits: make([]uint64, slots/64)}
	for _, s := range []slot{0, 1000, slots - 10} {
		used.add(s)
	}
	for s := slot(500); s < 510; s++ { // ten of them have something in them
		data.bytes[int64(s)*CacheBlock] = 1
	}
	given := 0
	data.seam = func(dst, _ []byte) {
		if len(dst) > 0 {
			given++
		}
	}
	p, err := newPool(data, slots, reserve, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.resume(used)
	if len(p.ready) != 10 || p.usedLocked() != 3 {
		t.Errorf("%d blocks are ready, %d used", len(p.ready), p.usedLocked())
	}
	if want := 4 + len(p.ready); given > want { // before, between, behind; and each that is ready is cleared
		t.Errorf("memory was given back in %d parts, not %d", given, want)
	}
	for s, ok := p.take(); ok; s, ok = p.take() {
		if used.has(s) || data.bytes[int64(s)*CacheBlock] != 0 {
			t.Fatalf("block %d is used or not empty", s)
		}
		used.add(s)
	}
	for s := range slot(slots) {
		if !used.has(s) {
			t.Fatalf("block %d is lost", s)
		}
	}
	p.close()
	if err := p.release(); err != nil {
		t.Error(err)
	}
}

// A block of kept memory has it before anybody writes there, also when the reserve is used up.
func TestABlockHasItsMemoryWhenItIsTaken(t *testing.T) {
	f := memfd(t, "data")
	if err := f.Truncate(8 * CacheBlock); err != nil {
		t.Fatal(err)
	}
	data, err := mapFile(f, 8*CacheBlock)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPool(data, 8, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := p.take()
	if at := int64(s) * CacheBlock; !ok || data.nextPresent(at, at+CacheBlock) != at {
		t.Errorf("block %d has no memory", s)
	}
	p.close()
	if err := p.release(); err != nil {
		t.Error(err)
	}
}

// What was written into files in memory a successor finds there, over the same content and no other; and it has at once the
// free memory that its predecessor had ready.
func TestAKeptCacheIsRecoveredFromItsFiles(t *testing.T) {
	const slots = 64 // all of them the reserve
	base := NewMemoryOf(oddDisk, true)
	k := Kept{Data: memfd(t, "data"), Map: memfd(t, "map"), Below: Identity{9}}
	if _, err := RecoverWriteCache(base, k, nil); err == nil {
		t.Error("there is nothing to recover, and it was")
	}
	c, err := NewKeptWriteCache(base, slots*CacheBlock, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for b := range int64(20) {
		if err := c.WriteAt(ctx, noise[b*100:][:CacheBlock], 7*b*CacheBlock); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Trim(ctx, 0, 7*10*CacheBlock); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, odd)
	if err := c.ReadAt(ctx, want, 0); err != nil {
		t.Fatal(err)
	}
	for c.Stats().Ready < (slots-10)*CacheBlock { // the filler is at work; the test's own time ends this
		time.Sleep(time.Millisecond)
	}
	if err := c.Close(); err != nil { // as death would: the files stay as they are
		t.Fatal(err)
	}
	wrong := k
	wrong.Below[39]++
	if _, err := RecoverWriteCache(base, wrong, nil); !errors.Is(err, ErrOtherDisk) {
		t.Error("it was recovered over another version")
	}
	if _, err := RecoverWriteCache(NewMemory(odd-1), k, nil); !errors.Is(err, ErrOtherDisk) {
		t.Error("it was recovered over another disk")
	}
	c, err = RecoverWriteCache(base, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s := c.Stats(); s.Used != 10*CacheBlock || s.Ready != (slots-10)*CacheBlock {
		t.Errorf("%d bytes used, %d ready", s.Used, s.Ready)
	}
	got := make([]byte, odd)
	if err := c.ReadAt(ctx, got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("it is not what was written (%v)", err)
	}
	// All memory that there is can be had, the reserve too; then writes wait.
	if err := c.WriteAt(ctx, noise[:(slots-10)*CacheBlock], 80*7*CacheBlock); err != nil {
		t.Fatal(err)
	}
	if c.TryWriteAt(noise[:CacheBlock], 0) {
		t.Error("a full cache took a write")
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.WriteAt(short, noise[:CacheBlock], 0); err == nil {
		t.Error("a full cache took a write that may wait")
	}
}
