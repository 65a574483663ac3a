package vdisk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
)

// sick is a disk whose files fail, or give wrong bytes, without their marks telling.
type sick struct {
	mu   sync.Mutex
	ills map[string]ill // by file name
}

type ill struct {
	err      error // what reads of [from, to) give; nil means a wrong bit at from
	from, to int64
	times    int // after so many reads it is over; 0: never
}

// set makes the reads of a file fail from now on, or right again with a zero ill.
func (s *sick) set(name string, i ill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ills == nil {
		s.ills = map[string]ill{}
	}
	s.ills[name] = i
}

// open is Open on the disk.
func (s *sick) open(path string) (*Version, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return openBacking(path, &sickFile{f, s}, st.Size())
}

type sickFile struct {
	*os.File
	disk *sick
}

func (f *sickFile) ReadAt(b []byte, off int64) (int, error) {
	name := filepath.Base(f.Name())
	f.disk.mu.Lock()
	is := f.disk.ills[name]
	hit := is.from < off+int64(len(b)) && off < is.to
	if hit && is.times > 0 {
		left := is
		if left.times--; left.times == 0 {
			left = ill{}
		}
		f.disk.ills[name] = left
	}
	f.disk.mu.Unlock()
	if hit && is.err != nil {
		return 0, &os.PathError{Op: "read", Path: f.Name(), Err: is.err}
	}
	n, err := f.File.ReadAt(b, off)
	if hit && is.from >= off {
		b[is.from-off] ^= 1
	}
	return n, err
}

const wholeFile = int64(1) << 62

// twoVersions makes a store with versions 0 and 1 of a vDisk.
func twoVersions(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for n := range uint32(2) {
		o := options(tree.MinChunk, tree.CodecNone)
		o.Number = n
		write(t, dir, image(93+uint64(n), 1<<20), o)
	}
	return dir
}

func acquire(t *testing.T, s *Store, number uint32) *Version {
	t.Helper()
	v, err := s.Acquire("disk", number)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// What a check finds is told at once, and not when the folder is looked through next; so is that it is good again.
func TestAFenceIsToldAtOnce(t *testing.T) {
	disk := &sick{}
	s, wait := running(t, twoVersions(t), func(s *Store) { s.open, s.every = disk.open, time.Hour })
	wait("the versions", holds(2))
	v := acquire(t, s, 1)
	var at record
	if err := v.locate(&scratch{}, 1, 0); err != nil {
		t.Fatal(err)
	}
	v.cache.get(&at, 1, 0)
	fenced := func(n int) func(Inventory) bool {
		return func(i Inventory) bool { return len(i.Replicas) == 2 && len(i.Replicas[1].Damage) == n }
	}
	for range 3 {
		disk.set("disk.1.spate", ill{from: at.children[5].offset, to: at.children[5].offset + 1})
		if err := v.Check(0, 5); !errors.Is(err, ErrDamaged) {
			t.Fatalf("a wrong bit: %v", err)
		}
		if d := wait("the fence", fenced(1)).Replicas[1].Damage[0]; !d.Fenced || d.Part != "chunk 5" {
			t.Errorf("%+v", d)
		}
		disk.set("disk.1.spate", ill{})
		if err := v.Check(0, 5); err != nil {
			t.Fatal(err)
		}
		wait("the repair", fenced(0))
	}
}

// A place of a version that the locator does not lead to is fenced and told by the read that finds it.
func TestALostPlaceIsFencedByItsReader(t *testing.T) {
	disk := &sick{}
	s, wait := running(t, twoVersions(t), func(s *Store) { s.open, s.every = disk.open, time.Hour })
	wait("the versions", holds(2))
	v := acquire(t, s, 0)
	disk.set("disk.0.spate", ill{from: v.seal.top.offset + 8, to: v.seal.top.offset + 9})
	if _, _, err := v.ReadAnswer(make([]byte, 4096), 0, 3, 1, 0); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a wrong bit in a locator: %v", err)
	}
	i := wait("the fence", func(i Inventory) bool { return len(i.Replicas) == 2 && len(i.Replicas[0].Damage) == 1 })
	if d := i.Replicas[0].Damage[0]; !d.Fenced || d.Part != "chunk 3" || !strings.Contains(d.Reason, "locator") {
		t.Errorf("%+v", d)
	}
}

// A disk that fails while its folder still seems to be there takes its store out, whether or not somebody reads, until
// it is back; then all is as before, for those who kept a version open, too.
func TestADiskThatFailsInUseTakesItsStoreOutUntilItIsBack(t *testing.T) {
	for name, read := range map[string]bool{"while it is read": true, "while nobody reads": false} {
		t.Run(name, func(t *testing.T) {
			disk := &sick{}
			s, wait := running(t, twoVersions(t), func(s *Store) { s.open, s.every = disk.open, 20*time.Millisecond })
			before := wait("the versions", holds(2))
			v := acquire(t, s, 1)
			for n := range 2 {
				disk.set(FileName("disk", uint32(n)), ill{err: syscall.EIO, to: wholeFile})
			}
			buf := make([]byte, 4096)
			if read {
				if _, _, err := v.ReadAnswer(buf, 0, 0, 1, 0); !errors.Is(err, syscall.EIO) {
					t.Fatalf("read: %v", err)
				}
			}
			i := wait("the disk gone", func(i Inventory) bool { return i.Problem != "" })
			if i.Problem != "cannot be read: input/output error" || len(i.Replicas) != 0 {
				t.Errorf("%+v", i)
			}
			if _, err := s.Acquire("disk", 0); !errors.Is(err, ErrNotHere) {
				t.Errorf("acquired from a disk that is gone: %v", err)
			}
			for n := range 2 {
				disk.set(FileName("disk", uint32(n)), ill{})
			}
			after := wait("the disk back", holds(2))
			if after.Replicas[1].ID != before.Replicas[1].ID {
				t.Errorf("back as %+v", after.Replicas[1])
			}
			if _, _, err := v.ReadAnswer(buf, 0, 0, 1, 0); err != nil {
				t.Errorf("kept open: %v", err)
			}
		})
	}
}

// A file that cannot be read is not offered; the others of its store are.
func TestAFileThatFailsInUseIsTakenOutAlone(t *testing.T) {
	disk := &sick{}
	_, wait := running(t, twoVersions(t), func(s *Store) { s.open, s.every = disk.open, 20*time.Millisecond })
	wait("the versions", holds(2))
	disk.set("disk.1.spate", ill{err: syscall.ESTALE, to: wholeFile})
	i := wait("the file out", holds(1))
	if len(i.Bad) != 1 || i.Bad[0].File != "disk.1.spate" || !strings.Contains(i.Bad[0].Reason, "cannot be read: stale") {
		t.Errorf("%+v", i.Bad)
	}
	disk.set("disk.1.spate", ill{})
	wait("the file back", holds(2))
}

// A bad place on a disk that works, in a chunk or in what leads to it, takes out what lies there and nothing else,
// whether a reader or a check comes upon it; once it can be read again a scrub lets it be served again.
func TestABadPlaceTakesOutWhatLiesThere(t *testing.T) {
	disk := &sick{}
	s, wait := running(t, twoVersions(t), func(s *Store) { s.open, s.every = disk.open, time.Hour })
	wait("the versions", holds(2))
	v := acquire(t, s, 0)
	var at record
	if err := v.locate(&scratch{}, 1, 0); err != nil {
		t.Fatal(err)
	}
	v.cache.get(&at, 1, 0)
	buf := make([]byte, 16*tree.MinChunk)
	read := func() error {
		_, _, err := v.ReadAnswer(buf, 0, 0, 16, 0)
		return err
	}
	check := func() error { return v.Check(0, 5) }
	chunk, top := at.children[5], v.seal.top
	for _, c := range []struct {
		name string
		at   place
		look func() error
		part string
	}{
		{"a chunk that is read with others", chunk, read, "chunk 5"},
		{"a chunk that is checked", chunk, check, "chunk 5"},
		{"a locator on the way of a reader", top, read, "chunk 0"},
		{"a locator on the way of a check", top, check, "chunk 5"},
	} {
		for level := 1; level <= v.levels; level++ {
			v.cache.forget(level, 0)
		}
		disk.set("disk.0.spate", ill{err: syscall.EIO, from: c.at.offset + 1, to: c.at.offset + 2})
		var bad *DamagedError
		if err := c.look(); !errors.As(err, &bad) || object(bad.Level, bad.Index) != c.part {
			t.Fatalf("%s: %v", c.name, err)
		}
		i := wait(c.name, func(i Inventory) bool { return len(i.Replicas) == 2 && len(i.Replicas[0].Damage) == 1 })
		d := i.Replicas[0].Damage[0]
		if !d.Fenced || d.Part != c.part || !strings.HasSuffix(d.Reason, "cannot be read: input/output error") {
			t.Errorf("%s: %+v", c.name, d)
		}
		if do := d.Remedy("disk", 0, v.Path()); !strings.Contains(do, "copy the file of a server") || !strings.Contains(do, "whether the disk goes on failing") {
			t.Errorf("%s: to do: %s", c.name, do)
		}
		if v.failing.Load() {
			t.Errorf("%s: taken for a disk that is gone", c.name)
		}
		if c.at == chunk {
			if n, _, err := v.ReadAnswer(buf, 0, 6, 10, 0); err != nil || n == 0 {
				t.Errorf("%s: its neighbours: %v", c.name, err)
			}
		}
		disk.set("disk.0.spate", ill{})
		if r, err := v.Scrub(t.Context(), 0, nil); err != nil || r.Bad+r.Unread != 0 {
			t.Errorf("%s: the disk is well: %+v, %v", c.name, r, err)
		}
		wait("all is well", func(i Inventory) bool { return len(i.Replicas) == 2 && len(i.Replicas[0].Damage) == 0 })
		if err := read(); err != nil {
			t.Errorf("%s: the disk is well: %v", c.name, err)
		}
	}
}

// A read that failed because the disk was away for a moment is done again, and nothing is called bad.
func TestADiskThatWasAwayForAMomentIsReadAgain(t *testing.T) {
	disk := &sick{}
	s, wait := running(t, twoVersions(t), func(s *Store) { s.open, s.every = disk.open, time.Hour })
	wait("the versions", holds(2))
	v := acquire(t, s, 0)
	disk.set("disk.0.spate", ill{err: syscall.EIO, to: wholeFile, times: 1})
	buf, want := make([]byte, 4*tree.MinChunk), make([]byte, 4*tree.MinChunk)
	if _, _, err := v.ReadAnswer(buf, 0, 0, 4, 0); err != nil {
		t.Errorf("read: %v", err)
	}
	if _, _, err := v.ReadAnswer(want, 0, 0, 4, 0); err != nil || !bytes.Equal(buf, want) {
		t.Errorf("read again: other bytes, %v", err)
	}
	if d := v.Damage(); len(d) > 0 {
		t.Errorf("damaged: %+v", d)
	}
}
