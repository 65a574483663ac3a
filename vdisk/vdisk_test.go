package vdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
)

// sealTime is the clock of tests.
func sealTime() time.Time { return time.Unix(1700000000, 123456789) }

// image makes a disk of size bytes with runs of zeros, text and noise, from a seed.
func image(seed uint64, size int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, size)
	for at := 0; at < size; {
		n := min(1+rng.IntN(200<<10), size-at)
		switch rng.IntN(4) {
		case 0, 1: // zeros
		case 2:
			for i := range n {
				b[at+i] = "a boot storm of similar things"[(i+at)%30]
			}
		case 3:
			for i := range n {
				b[at+i] = byte(rng.Uint32())
			}
		}
		at += n
	}
	return b
}

func options(chunk uint32, codec tree.Codec) WriteOptions {
	return WriteOptions{
		Name: "disk", ChunkSize: chunk, Codec: codec, Who: "tester@lab", Program: "spate test", Now: sealTime, Workers: 2,
	}
}

// write seals a disk into dir.
func write(t testing.TB, dir string, disk []byte, o WriteOptions) *Summary {
	t.Helper()
	w, err := Create(dir, o)
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
	return s
}

func open(t testing.TB, path string) *Version {
	t.Helper()
	v, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// entries reads and checks all entries of the tree the way a target does: pages by ReadAnswer, from the root.
func entries(v *Version) ([]tree.Entry, error) {
	s := v.Shape()
	above := []tree.Entry{}
	for level := s.Levels(); level >= 1; level-- {
		var here []tree.Entry
		for i := range s.Count(level) {
			if level < s.Levels() && above[i].Kind == tree.Zero {
				here = append(here, make([]tree.Entry, s.Entries(level, i))...)
				continue
			}
			buf := make([]byte, tree.MaxPage)
			n, total, err := v.ReadAnswer(buf, level, i, 1, 0)
			if err != nil {
				return nil, err
			}
			page := buf[:n]
			if level == s.Levels() && s.Root(page, v.seal.boot.digest) != v.ID().Root || level < s.Levels() && !tree.Verify(above[i], page) {
				return nil, fmt.Errorf("page %d of level %d: %w", i, level, tree.ErrMismatch)
			}
			if here, err = tree.ParsePage(here, page, s, level, i); err != nil || int64(n) != total {
				return nil, fmt.Errorf("page %d of level %d: %d of %d bytes: %w", i, level, n, total, err)
			}
		}
		above = here
	}
	return above, nil
}

// content reads the whole disk the way a target does.
func content(v *Version) ([]byte, error) {
	all, err := entries(v)
	if err != nil {
		return nil, err
	}
	d, err := tree.NewDecoder()
	if err != nil {
		return nil, err
	}
	defer d.Close()
	disk := make([]byte, v.Shape().Size)
	rest := disk
	for i, e := range all {
		stored := make([]byte, e.Length)
		if n, _, err := v.ReadAnswer(stored, 0, int64(i), 1, 0); err != nil || n != len(stored) {
			return nil, fmt.Errorf("chunk %d: %d bytes: %w", i, n, err)
		}
		k := v.Shape().ChunkLength(int64(i))
		if err := d.Decode(rest[:k], e, stored); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", i, err)
		}
		rest = rest[k:]
	}
	return disk, nil
}

// Whatever the disk, the chunk size and the codec: what was written is read back, verified, and described.
func TestDisksComeBackAsTheyWere(t *testing.T) {
	seed := uint64(0)
	for _, size := range []int{512, 4096, 100 << 10, 64 * 4096, 64*4096 + 512, 3<<20 + 1536, 20 << 20} {
		for _, chunk := range []uint32{tree.MinChunk, 16 << 10, 64 << 10, tree.MaxChunk} {
			for codec := tree.CodecNone; codec.Valid(); codec++ {
				if size > 4<<20 && codec != tree.CodecZstd {
					continue
				}
				seed++
				t.Run(fmt.Sprintf("%d/%d/%v", size, chunk, codec), func(t *testing.T) {
					disk := image(seed, size)
					s := write(t, t.TempDir(), disk, options(chunk, codec))
					v := open(t, s.Path)
					if v.ID() != s.ID || v.Name() != "disk" || v.Number() != 0 || v.Shape() != s.Shape || s.Shape.Size != int64(size) {
						t.Fatalf("describes itself as %+v, was written as %+v", v.Info(), s)
					}
					got, err := content(v)
					if err != nil || !bytes.Equal(got, disk) {
						t.Fatalf("comes back otherwise, error %v", err)
					}
					if s.Logical != tree.Sum(disk) {
						t.Error("hash of the disk is wrong")
					}
					r, err := v.Verify(context.Background(), VerifyOptions{})
					if err != nil || !r.Sound() || r.Logical != s.Logical || r.Bytes != int64(size) || len(v.Damage()) != 0 {
						t.Errorf("verify: %+v, %v, damage %v", r, err, v.Damage())
					}
				})
			}
		}
	}
}

// The way a disk is handed to a Writer does not show in the file: pieces of any size, and zeros as holes.
func TestHolesAndPiecesMakeTheSameFile(t *testing.T) {
	disk := make([]byte, 9<<20)
	copy(disk[100:], image(3, 1<<20))
	copy(disk[5<<20+700:], image(4, 300<<10))
	want, _ := os.ReadFile(write(t, t.TempDir(), disk, options(16<<10, tree.CodecZstd)).Path)
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w, err := Create(t.TempDir(), options(16<<10, tree.CodecZstd))
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(disk); {
			n := min(1+rng.IntN(1<<rng.IntN(23)), len(disk)-at)
			if tree.IsZero(disk[at : at+n]) {
				err = w.Zero(int64(n))
			} else {
				_, err = w.Write(disk[at : at+n])
			}
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
		s, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(s.Path); !bytes.Equal(got, want) {
			t.Errorf("seed %d: another file", seed)
		}
	}
}

// ReadAnswer is the concatenation of stored bytes, wherever it is cut.
func TestAnswersAreTheConcatenationOfStoredBytes(t *testing.T) {
	disk := image(11, 6<<20+512)
	v := open(t, write(t, t.TempDir(), disk, options(tree.MinChunk, tree.CodecZstd)).Path)
	rng := rand.New(rand.NewPCG(5, 5))
	for level := 0; level <= v.Shape().Levels(); level++ {
		count := v.Shape().Count(level)
		objects := make([][]byte, count)
		for i := range objects {
			buf := make([]byte, tree.MaxChunk)
			n, total, err := v.ReadAnswer(buf, level, int64(i), 1, 0)
			if err != nil || int64(n) != total {
				t.Fatal(n, total, err)
			}
			objects[i] = buf[:n]
		}
		for range 500 {
			first := rng.Int64N(count)
			n := 1 + rng.Int64N(min(count-first, 300))
			whole := bytes.Join(objects[first:first+n], nil)
			from := rng.Int64N(int64(len(whole)) + 2)
			p := make([]byte, rng.IntN(len(whole)+100))
			got, total, err := v.ReadAnswer(p, level, first, int(n), from)
			want := whole[min(from, int64(len(whole))):]
			want = want[:min(len(want), len(p))]
			if err != nil || total != int64(len(whole)) || !bytes.Equal(p[:got], want) {
				t.Fatalf("level %d, %d objects from %d, bytes from %d: %d of %d, want %d of %d, error %v",
					level, n, first, from, got, total, len(want), len(whole), err)
			}
		}
		for _, c := range []struct {
			first, from int64
			count       int
		}{{-1, 0, 1}, {0, -1, 1}, {0, 0, 0}, {count, 0, 1}, {0, 0, int(count) + 1}, {count - 1, 0, 2}, {0, 0, -1}} {
			if _, _, err := v.ReadAnswer(nil, level, c.first, c.count, c.from); !errors.Is(err, ErrRange) {
				t.Errorf("level %d, %+v: %v", level, c, err)
			}
		}
	}
	for _, level := range []int{-1, v.Shape().Levels() + 1} {
		if _, _, err := v.ReadAnswer(nil, level, 0, 1, 0); !errors.Is(err, ErrRange) {
			t.Errorf("level %d: %v", level, err)
		}
	}
}

func TestAVersionReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	s := write(t, dir, image(1, 4096), options(0, tree.CodecZstd))
	before, _ := os.ReadFile(s.Path)
	w, err := Create(dir, options(0, tree.CodecZstd))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(image(2, 8192))
	if _, err := w.Commit(); !errors.Is(err, ErrExists) {
		t.Errorf("second version 0: %v", err)
	}
	after, _ := os.ReadFile(s.Path)
	if all, _ := os.ReadDir(dir); !bytes.Equal(before, after) || len(all) != 1 {
		t.Errorf("the first one changed, or %v is left", all)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir, options(0, tree.CodecZstd))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(image(2, 5<<20))
	w.Abort()
	w.Abort()
	if all, _ := os.ReadDir(dir); len(all) != 0 {
		t.Errorf("%v is left", all)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("commit of an aborted version: %v", err)
	}
	if _, err := w.Write(make([]byte, 10)); !errors.Is(err, ErrClosed) {
		t.Errorf("write to an aborted version: %v", err)
	}
	if err := w.Zero(10); !errors.Is(err, ErrClosed) {
		t.Errorf("write to an aborted version: %v", err)
	}
}

func TestAnOpenVersionOutlivesItsFile(t *testing.T) {
	disk := image(9, 1<<20)
	s := write(t, t.TempDir(), disk, options(0, tree.CodecZstd))
	v := open(t, s.Path)
	if err := os.Remove(s.Path); err != nil {
		t.Fatal(err)
	}
	if got, err := content(v); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("after removal: %v", err)
	}
}

func TestFileNamesAreTakenApart(t *testing.T) {
	for file, want := range map[string]string{
		"debian12.0.spate": "debian12 0", "win.11.7.spate": "win.11 7", "a.4294967294.spate": "a 4294967294",
		"debian12.spate": "", ".0.spate": "", "a.00.spate": "", "a.4294967295.spate": "", "a.-1.spate": "", "a.0": "",
		"a b.0.spate": "", "-a.0.spate": "", "..0.spate": "", "a/b.0.spate": "", "a.1x.spate": "", ".spate": "", "": "",
	} {
		name, number, err := ParseFileName(file)
		got := ""
		if err == nil {
			got = fmt.Sprintf("%s %d", name, number)
		}
		if got != want {
			t.Errorf("%q: %q, error %v", file, got, err)
		}
	}
	for image, want := range map[string]string{
		"/srv/debian-12.qcow2": "debian-12", "My Disk.img": "My-Disk", "x": "x", "---.img": "", "ä.raw": "", ".hidden": "hidden",
	} {
		if got := cleanName(image); got != want {
			t.Errorf("%q: name %q, want %q", image, got, want)
		}
	}
}

func TestLeftOversOfDeadWritersAreRemovedAndOthersAreNot(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir, options(0, tree.CodecZstd))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	dead := filepath.Join(dir, tempName("disk.1.spate"))
	mine := filepath.Join(dir, ".mine.part")
	for _, path := range []string{dead, mine} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := removeLeftovers(dir); n != 1 {
		t.Errorf("%d removed, want 1", n)
	}
	if all, _ := os.ReadDir(dir); len(all) != 2 {
		t.Errorf("left: %v", all)
	}
}
