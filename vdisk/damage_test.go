package vdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

// part is a structure of a sealed file, for tests that damage it.
type part struct {
	name       string
	from, size int64
}

// parts lists every structure of the file of v.
func parts(t *testing.T, v *Version) []part {
	t.Helper()
	end := v.seal.file
	all := []part{
		{"header", 0, blockSize}, {"seal slot 0", end - 2*blockSize, blockSize}, {"seal slot 1", end - blockSize, blockSize},
	}
	if at := v.seal.boot; at != (bootPlace{}) {
		all = append(all, part{bootTable.String(), at.offset, int64(bootTableSize(len(v.boot.table)))})
		for _, e := range v.boot.table {
			all = append(all, part{e.kind.String(), e.offset, e.size})
		}
	}
	var s scratch
	for level := 1; level <= v.levels; level++ {
		for i := range v.seal.shape.Count(level) {
			at := v.seal.top
			if level < v.levels {
				if err := v.locate(&s, level+1, i/tree.Fanout); err != nil {
					t.Fatal(err)
				}
				at = s.record.children[i%tree.Fanout]
			}
			if at == (place{}) {
				continue
			}
			all = append(all, part{fmt.Sprintf("record %d of level %d", i, level), at.offset, int64(at.length)})
			if err := v.locate(&s, level, i); err != nil {
				t.Fatal(err)
			}
			all = append(all, part{object(level, i), s.record.page.offset, int64(s.record.page.length)})
			for n, c := range s.record.children[:s.record.n] {
				if level == 1 && c.length > 0 {
					all = append(all, part{object(0, i*tree.Fanout+int64(n)), c.offset, int64(c.length)})
				}
			}
		}
	}
	return all
}

// One wrong bit anywhere: a reader that checks against the tree never accepts wrong bytes, Verify complains,
// and everything that is not below the damage is still served. The same goes for boot files.
func TestOneWrongBitIsNeverAccepted(t *testing.T) {
	disk := image(21, 70*4096+512)
	o := options(tree.MinChunk, tree.CodecZstd)
	o.Boot = bootFiles()
	s := write(t, t.TempDir(), disk, o)
	good, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	all := parts(t, open(t, s.Path))
	covered := int64(0)
	for _, p := range all {
		covered += p.size
		for _, at := range []int64{0, 9, p.size / 2, p.size - 1} {
			if at >= p.size {
				continue
			}
			bit := byte(1) << (at % 8)
			bad := bytes.Clone(good)
			bad[p.from+at] ^= bit
			path := filepath.Join(t.TempDir(), "disk.0.spate")
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			checkDamaged(t, path, disk, p.name)
		}
	}
	if rest := int64(len(good)) - covered; rest < 0 || rest >= 2*blockSize {
		t.Errorf("%d bytes of the file are in no structure", rest)
	}
}

func checkDamaged(t *testing.T, path string, disk []byte, name string) {
	t.Helper()
	v, err := Open(path)
	if err != nil {
		t.Errorf("%s: does not open: %v", name, err)
		return
	}
	defer v.Close()
	if got, err := content(v); err == nil && !bytes.Equal(got, disk) {
		t.Errorf("%s: wrong bytes are accepted", name)
	} else if isTail := strings.HasPrefix(name, "seal") || name == "header"; (isTail || isBoot(name)) != (err == nil) {
		t.Errorf("%s: reading gives %v", name, err)
	}
	checkBootFiles(t, v, name)
	r, err := v.Verify(context.Background(), VerifyOptions{Workers: 1})
	if err != nil || r.Sound() || len(v.Damage()) == 0 {
		t.Errorf("%s: verify finds nothing, error %v", name, err)
		return
	}
	want := strings.Replace(name, "record", "index page", 1)
	if got := v.Damage()[0].Part; got != want {
		t.Errorf("%s: verify complains of %s (%s)", name, got, v.Damage()[0].Reason)
	}
}

// Whatever the file was cut to, opening it says in a sentence that it is incomplete.
func TestACutFileIsIncomplete(t *testing.T) {
	s := write(t, t.TempDir(), image(2, 300<<10), options(tree.MinChunk, tree.CodecZstd))
	good, _ := os.ReadFile(s.Path)
	path := filepath.Join(t.TempDir(), "disk.0.spate")
	for _, n := range []int{blockSize, blockSize + 1, len(good) / 2, len(good) &^ 4095 / 2, len(good) - blockSize, len(good) - 1} {
		os.WriteFile(path, good[:n], 0o600)
		if _, err := Open(path); !errors.Is(err, ErrIncomplete) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(good), err)
		}
	}
	for _, junk := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("spate"), 10000), make([]byte, 1<<20)} {
		os.WriteFile(path, junk, 0o600)
		if _, err := Open(path); !errors.Is(err, ErrNotVDisk) {
			t.Errorf("%d bytes of something else: %v", len(junk), err)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder opens")
	}
}

// reseal rewrites the description in all three places.
func reseal(t *testing.T, path string, change func(*seal)) {
	t.Helper()
	b, _ := os.ReadFile(path)
	size := int64(len(b))
	for i := range slots {
		at := size - int64(slots-i)*blockSize
		s, err := parseSeal(b[at:at+blockSize], size)
		if err != nil {
			t.Fatal(err)
		}
		change(s)
		copy(b[at:], encodeSeal(s))
		copy(b, encodeHeader(&s.description))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADeltaSaysWhichVersionItNeeds(t *testing.T) {
	s := write(t, t.TempDir(), image(2, 8192), options(tree.MinChunk, tree.CodecZstd))
	parent := Parent{Number: 2, ID: ID{Root: tree.Sum([]byte("p")), Timestamp: 5}}
	reseal(t, s.Path, func(s *seal) { s.number, s.parent = 3, &parent })
	_, err := Open(s.Path)
	var needs *NeedsVersionError
	if !errors.As(err, &needs) || needs.Parent != parent || !strings.Contains(err.Error(), "disk version 3 needs version 2") {
		t.Errorf("open: %v", err)
	}
}

func TestHeaderAndSealMustAgree(t *testing.T) {
	s := write(t, t.TempDir(), image(2, 8192), options(tree.MinChunk, tree.CodecZstd))
	b, _ := os.ReadFile(s.Path)
	d, _ := parseHeader(b[:blockSize])
	d.number++
	copy(b, encodeHeader(d))
	os.WriteFile(s.Path, b, 0o600)
	if _, err := Open(s.Path); !errors.Is(err, ErrDamaged) {
		t.Errorf("open: %v", err)
	}
}

func TestANewerFormatIsCalledNewer(t *testing.T) {
	s := write(t, t.TempDir(), image(2, 8192), options(tree.MinChunk, tree.CodecZstd))
	b, _ := os.ReadFile(s.Path)
	for _, at := range []int{0, len(b) - 2*blockSize, len(b) - blockSize} {
		b[at+8] = 3
		closeBlock(b[at : at+blockSize])
	}
	os.WriteFile(s.Path, b, 0o600)
	if _, err := Open(s.Path); !errors.Is(err, ErrNewer) {
		t.Errorf("open: %v", err)
	}
}

// A damaged object is fenced by the check that finds it and served again once it is repaired; the others are
// served all the time.
func TestABadChunkIsFencedUntilItIsGoodAgain(t *testing.T) {
	disk := image(31, 200*4096)
	s := write(t, t.TempDir(), disk, options(tree.MinChunk, tree.CodecNone))
	v := open(t, s.Path)
	var bad part
	for _, p := range parts(t, v) {
		if strings.HasPrefix(p.name, "chunk") {
			bad = p
		}
	}
	var index int64
	fmt.Sscanf(bad.name, "chunk %d", &index)
	flip := func() {
		f, _ := os.OpenFile(s.Path, os.O_RDWR, 0)
		defer f.Close()
		var b [1]byte
		f.ReadAt(b[:], bad.from)
		b[0] ^= 4
		f.WriteAt(b[:], bad.from)
	}
	buf := make([]byte, tree.MinChunk)
	flip()
	if _, _, err := v.ReadAnswer(buf, 0, index, 1, 0); err != nil {
		t.Errorf("not looked for, and refused: %v", err)
	}
	var damaged *DamagedError
	if err := v.Check(0, index); !errors.As(err, &damaged) || damaged.Index != index || damaged.Level != 0 {
		t.Errorf("check: %v", err)
	}
	if _, _, err := v.ReadAnswer(buf, 0, index-3, 4, 0); !errors.As(err, &damaged) || damaged.Index != index {
		t.Errorf("fenced, and answered: %v", err)
	}
	if _, _, err := v.ReadAnswer(buf, 0, 0, 1, 0); err != nil {
		t.Errorf("another chunk: %v", err)
	}
	if d := v.Damage(); len(d) != 1 || d[0].Part != bad.name || !d[0].Fenced {
		t.Errorf("damage: %+v", d)
	}
	flip()
	if err := v.Check(0, index); err != nil {
		t.Errorf("check after repair: %v", err)
	}
	if _, _, err := v.ReadAnswer(buf, 0, index, 1, 0); err != nil || len(v.Damage()) != 0 {
		t.Errorf("after repair: %v, %v", err, v.Damage())
	}
	if err := v.Check(9, 0); !errors.Is(err, ErrRange) {
		t.Errorf("check of nothing: %v", err)
	}
}

// weak is a file whose reads can be made to fail, or to end early.
type weak struct {
	f   *os.File
	err error
	cut int64 // when not 0, the file's size
}

func (w *weak) ReadAt(p []byte, off int64) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.cut != 0 && off+int64(len(p)) > w.cut {
		return 0, io.EOF
	}
	return w.f.ReadAt(p, off)
}

func (w *weak) Close() error { return w.f.Close() }

// A store that goes away gives the system's errors, fences nothing, and works again when it is back.
func TestAStoreThatGoesAwayComesBack(t *testing.T) {
	disk := image(41, 1<<20)
	s := write(t, t.TempDir(), disk, options(tree.MinChunk, tree.CodecZstd))
	f, err := os.Open(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	w := &weak{f: f}
	v, err := openBacking(s.Path, w, s.File)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	buf := make([]byte, 64<<10)
	for _, gone := range []error{syscall.ESTALE, syscall.EIO, os.ErrDeadlineExceeded} {
		w.err = gone
		if _, _, err := v.ReadAnswer(buf, 0, 0, 256, 0); !errors.Is(err, gone) {
			t.Errorf("read: %v", err)
		}
		if err := v.Check(0, 1); !errors.Is(err, gone) || errors.Is(err, ErrDamaged) {
			t.Errorf("check: %v", err)
		}
		if d := v.Damage(); len(d) != 1 || d[0].Fenced {
			t.Errorf("damage: %+v", d)
		}
		w.err = nil
		if err := v.Check(0, 1); err != nil || len(v.Damage()) != 0 {
			t.Errorf("back again: %v, %v", err, v.Damage())
		}
		if got, err := content(v); err != nil || !bytes.Equal(got, disk) {
			t.Errorf("back again: %v", err)
		}
	}
	w.cut = s.File - 3*blockSize
	for level, first := range []int64{v.Shape().Chunks() - 1, v.Shape().Count(1) - 1} {
		if _, _, err := v.ReadAnswer(buf, level, first, 1, 0); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("cut, level %d: %v", level, err)
		}
	}
}
