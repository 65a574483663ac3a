package vdisktest

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spate-project/spate/vdisk"
	"github.com/spate-project/spate/vdisk/tree"
)

func inMemory(t *testing.T, disk []byte, chunk uint32) Image {
	m, err := New("disk", 0, 7, disk, chunk, tree.CodecZstd)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMemoryKeepsTheContract(t *testing.T) {
	TestImage(t, inMemory, func(i Image, level int, index int64) { i.(*Memory).Damage(level, index) })
}

func inFile(t *testing.T, disk []byte, chunk uint32) Image { return inFileWith(t, disk, chunk, "") }

// inFileWith seals a disk, with a kernel where that is not empty.
func inFileWith(t *testing.T, disk []byte, chunk uint32, kernel string) Image {
	var boot vdisk.BootFiles
	if kernel != "" {
		boot.Kernel = vdisk.BootSource{Name: "kernel", Size: int64(len(kernel)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(kernel)), nil
		}}
	}
	w, err := vdisk.Create(t.TempDir(), vdisk.WriteOptions{Name: "disk", ChunkSize: chunk, Codec: tree.CodecZstd, Workers: 1, Boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(disk); err != nil {
		t.Fatal(err)
	}
	s, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vdisk.Open(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestVersionKeepsTheContract(t *testing.T) { testVersion(t, inFile) }

func TestAVersionWithAKernelKeepsTheContract(t *testing.T) {
	testVersion(t, func(t *testing.T, disk []byte, chunk uint32) Image { return inFileWith(t, disk, chunk, "a kernel") })
}

func testVersion(t *testing.T, open func(*testing.T, []byte, uint32) Image) {
	TestImage(t, open, func(i Image, level int, index int64) {
		// The stored bytes are found by what they are.
		v := i.(*vdisk.Version)
		stored, err := object(i, level, index)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(v.Path())
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(v.Path(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for at := len(b) - len(stored); at >= 0; at-- {
			if string(b[at:at+len(stored)]) == string(stored) {
				if _, err := f.WriteAt([]byte{stored[0] ^ 1}, int64(at)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// An image in memory and a file of the same disk are the same content, so that tests with one speak for the
// other.
func TestMemoryAndVersionHaveTheSameRoot(t *testing.T) {
	disk := Disk(5, 1<<20)
	if a, b := inMemory(t, disk, 4096).ID().Root, inFile(t, disk, 4096).ID().Root; a != b {
		t.Errorf("roots %v and %v", a, b)
	}
}

func TestWrappersDoWhatTheySay(t *testing.T) {
	disk := Disk(6, 1<<20)
	inner := inMemory(t, disk, 4096)
	waits := atomic.Int64{}
	slow := &Slow{inner, func() { waits.Add(1) }}
	TestImage(t, func(t *testing.T, disk []byte, chunk uint32) Image {
		return &Slow{inMemory(t, disk, chunk), func() { waits.Add(1) }}
	}, nil)
	if _, err := object(slow, 0, 0); err != nil || waits.Load() == 0 {
		t.Errorf("slow: %v, %d waits", err, waits.Load())
	}
	fail := true
	faulty := &Faulty{inner, func(int, int64, int) error {
		if fail {
			return ErrFault
		}
		return nil
	}}
	if _, err := Content(faulty); !errors.Is(err, ErrFault) {
		t.Errorf("faulty: %v", err)
	}
	if err := faulty.Check(0, 0); !errors.Is(err, ErrFault) {
		t.Errorf("faulty: %v", err)
	}
	fail = false
	if _, err := Content(faulty); err != nil {
		t.Errorf("no longer faulty: %v", err)
	}
	short := &Short{inner, 3}
	top := inner.Shape().Levels()
	if n, total, err := short.ReadAnswer(make([]byte, 100), top, 0, 1, 0); n != 3 || total <= 3 || err != nil {
		t.Errorf("short: %d of %d, %v", n, total, err)
	}
}
