package vdisk

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

const bootLine = "root=/dev/nbd0 quiet"

// kernelBytes and imageBytes are those of bootFiles: less than a piece, and several with a short one at the end.
var (
	kernelBytes = bytes.Repeat([]byte("kernel "), 500)
	imageBytes  = bytes.Repeat([]byte("boot image "), 15000)
)

func source(name string, b []byte) BootSource {
	return BootSource{Name: name, Size: int64(len(b)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

func bootFiles() BootFiles {
	return BootFiles{Kernel: source("vmlinuz", kernelBytes), Image: source("initrd", imageBytes), CommandLine: bootLine}
}

// writeBooted seals a small disk with boot files.
func writeBooted(t testing.TB, dir string) *Summary {
	t.Helper()
	o := options(tree.MinChunk, tree.CodecZstd)
	o.Boot = bootFiles()
	return write(t, dir, image(61, 100<<10), o)
}

func isBoot(name string) bool {
	return name == bootTable.String() || name == BootKernel.String() || name == BootImage.String() || name == BootCommandLine.String()
}

// readBootFile opens a boot file and reads it whole.
func readBootFile(v *Version, kind BootKind) ([]byte, error) {
	f, err := v.OpenBoot(kind)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
}

// checkBootFiles checks the boot files of a version that has those of bootFiles, of which one may be damaged: a file comes
// back right or not at all.
func checkBootFiles(t *testing.T, v *Version, damaged string) {
	t.Helper()
	for kind, want := range map[BootKind][]byte{BootKernel: kernelBytes, BootImage: imageBytes, BootCommandLine: []byte(bootLine)} {
		got, err := readBootFile(v, kind)
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("%q damaged: wrong bytes of the %v are served", damaged, kind)
		}
		if !isBoot(damaged) && err != nil || damaged == kind.String() && err == nil {
			t.Errorf("%q damaged: the %v gives %v", damaged, kind, err)
		}
	}
	info := v.Boot()
	if !isBoot(damaged) {
		if info.Problem != "" || info.CommandLine != bootLine || info.Kernel != (BootFileInfo{int64(len(kernelBytes)), tree.Sum(kernelBytes)}) ||
			info.Image != (BootFileInfo{int64(len(imageBytes)), tree.Sum(imageBytes)}) || info.Others != 0 || !info.Any() {
			t.Errorf("%q damaged: boot is %+v", damaged, info)
		}
		return
	}
	// Nothing at all is booted from here now.
	var bad *BootError
	if _, err := v.OpenBoot(BootKernel); !errors.As(err, &bad) || !errors.Is(err, ErrDamaged) || bad.Kind.String() != damaged {
		t.Errorf("%s damaged: the kernel gives %v", damaged, err)
	}
	for _, want := range []string{"disk version 0 cannot be booted from here, its " + damaged + " is damaged", "copy the file of a server", v.Path()} {
		if !strings.Contains(info.Problem, want) {
			t.Errorf("%s damaged: %q does not say %q", damaged, info.Problem, want)
		}
	}
}

func TestAVersionCarriesItsBootFiles(t *testing.T) {
	dir := t.TempDir()
	sum := writeBooted(t, dir)
	v := open(t, sum.Path)
	checkBootFiles(t, v, "")
	if v.Boot() != sum.Boot || v.Info().Boot != sum.Boot {
		t.Errorf("written %+v, read %+v", sum.Boot, v.Boot())
	}
	if got, err := content(v); err != nil || !bytes.Equal(got, image(61, 100<<10)) {
		t.Errorf("the disk: %v", err)
	}
	r, err := v.Verify(context.Background(), VerifyOptions{})
	if want := int64(len(kernelBytes) + len(imageBytes) + len(bootLine)); err != nil || !r.Sound() || r.Boot != want {
		t.Errorf("verify: %+v, %v", r, err)
	}
	f, err := v.OpenBoot(BootImage)
	if err != nil || f.Size() != int64(len(imageBytes)) {
		t.Fatal(err)
	}
	defer f.Close()
	if h := tree.Sum(imageBytes); f.Tag() != hex.EncodeToString(h[:]) {
		t.Errorf("tag %s", f.Tag())
	}
	var readers sync.WaitGroup
	for seed := range uint64(4) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 3))
			for range 200 {
				off := rng.IntN(len(imageBytes))
				p := make([]byte, rng.IntN(200<<10))
				n, err := f.ReadAt(p, int64(off))
				ended := errors.Is(err, io.EOF)
				if want := min(len(p), len(imageBytes)-off); n != want || ended != (want < len(p)) || err != nil && !ended ||
					!bytes.Equal(p[:n], imageBytes[off:off+n]) {
					t.Errorf("%d bytes at %d: %d, %v", len(p), off, n, err)
				}
			}
		})
	}
	readers.Wait()
	if n, err := f.ReadAt(make([]byte, 1), f.Size()); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("before the beginning")
	}
}

// The root of a disk is another one with other boot files, and that of before without any.
func TestTheRootDependsOnTheBootFiles(t *testing.T) {
	o := options(tree.MinChunk, tree.CodecZstd)
	roots := map[tree.Hash]string{}
	for name, files := range map[string]BootFiles{
		"none": {}, "all": bootFiles(), "kernel": {Kernel: source("k", kernelBytes)}, "other kernel": {Kernel: source("k", imageBytes)},
		"command line": {Kernel: source("k", kernelBytes), CommandLine: "quiet"},
	} {
		o.Boot = files
		s := write(t, t.TempDir(), image(61, 100<<10), o)
		if other, twice := roots[s.ID.Root]; twice {
			t.Errorf("%s and %s have the same root", name, other)
		}
		roots[s.ID.Root] = name
		v := open(t, s.Path)
		if _, err := v.OpenBoot(BootImage); (name == "all") != (err == nil) || err != nil && !errors.Is(err, ErrNoBootFile) {
			t.Errorf("%s: image %v", name, err)
		}
	}
}

// A bit that turns after the file was opened and checked is found by the read that meets it; a repair lets the version be
// booted again after a look at it.
func TestNoWrongByteOfAnOpenBootFileIsServed(t *testing.T) {
	disk := &sick{}
	s, wait := running(t, func() string { dir := t.TempDir(); writeBooted(t, dir); return dir }(), func(s *Store) { s.open = disk.open })
	wait("the version", holds(1))
	v := acquire(t, s, 0)
	f, err := s.OpenBoot("disk", 0, BootImage)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, i := range []ill{{}, {err: syscall.EIO}} {
		i.from = f.entry.offset + bootBlock + 100
		i.to = i.from + 1
		disk.set("disk.0.spate", i)
		for _, size := range []int64{100, f.Size()} {
			for off := int64(0); off < f.Size(); off += size {
				p := make([]byte, min(size, f.Size()-off))
				n, err := f.ReadAt(p, off)
				if !bytes.Equal(p[:n], imageBytes[off:off+int64(n)]) {
					t.Fatalf("wrong bytes of [%d, %d) are served", off, off+size)
				}
				meets := off < 2*bootBlock && off+size > bootBlock
				if (err == nil) == meets || meets && !errors.Is(err, ErrDamaged) {
					t.Fatalf("%d bytes at %d: %v", size, off, err)
				}
			}
		}
		checkBootFiles(t, v, BootImage.String())
		inv := wait("the damage told", func(inv Inventory) bool { return len(inv.Replicas) == 1 && len(inv.Replicas[0].Damage) == 1 })
		if d := inv.Replicas[0].Damage[0]; !d.Boot || !d.Fenced || d.Level >= 0 || d.Part != BootImage.String() || inv.Replicas[0].Boot.Problem == "" {
			t.Errorf("damage: %+v", d)
		}
		if r, err := v.Scrub(context.Background(), 0, nil); err != nil || r.Bad != 1 {
			t.Errorf("scrub: %+v, %v", r, err)
		}
		disk.set("disk.0.spate", ill{})
		if r, err := v.Scrub(context.Background(), 0, nil); err != nil || r.Bad != 0 {
			t.Errorf("scrub after the repair: %+v, %v", r, err)
		}
		checkBootFiles(t, v, "")
	}
}

// A disk that does not answer is no damage: nothing is fenced, and when it is back, boot files are read as before. One that
// was away for a moment only is read again at once.
func TestADiskThatFailsFencesNoBootFile(t *testing.T) {
	disk := &sick{}
	s, wait := running(t, func() string { dir := t.TempDir(); writeBooted(t, dir); return dir }(), func(s *Store) { s.open = disk.open })
	wait("the version", holds(1))
	v := acquire(t, s, 0)
	at := v.boot.table[1].offset
	disk.set("disk.0.spate", ill{err: syscall.EIO, from: at, to: at + 1, times: 1})
	checkBootFiles(t, v, "")
	disk.set("disk.0.spate", ill{err: syscall.EIO, to: wholeFile})
	f, err := v.OpenBoot(BootImage)
	if err != nil {
		t.Fatal("what was checked before need not be read: ", err)
	}
	defer f.Close()
	if n, err := f.ReadAt(make([]byte, 10), 5); n != 0 || !errors.Is(err, syscall.EIO) || errors.Is(err, ErrDamaged) {
		t.Errorf("read: %d, %v", n, err)
	}
	wait("the store gone", func(inv Inventory) bool { return inv.Problem != "" })
	disk.set("disk.0.spate", ill{})
	wait("the store back", holds(1))
	if d := v.Damage(); len(d) > 0 {
		t.Errorf("damage: %+v", d)
	}
	checkBootFiles(t, v, "")
	g, err := s.OpenBoot("disk", 0, BootImage)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
}

// A place that the disk cannot read takes the boot out, and leaves the disk to those who read it.
func TestABadPlaceInTheListOfBootFilesLeavesTheDisk(t *testing.T) {
	sum := writeBooted(t, t.TempDir())
	at := open(t, sum.Path).seal.boot.offset
	disk := &sick{}
	disk.set("disk.0.spate", ill{err: syscall.EIO, from: at, to: at + 1})
	v, err := disk.open(sum.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	checkBootFiles(t, v, bootTable.String())
	if got, err := content(v); err != nil || !bytes.Equal(got, image(61, 100<<10)) {
		t.Errorf("the disk: %v", err)
	}
	disk.set("disk.0.spate", ill{})
	if r, err := v.Verify(context.Background(), VerifyOptions{}); err != nil || !r.Sound() {
		t.Errorf("verify after the repair: %+v, %v", r, err)
	}
	checkBootFiles(t, v, "")
}

// Whoever reads a boot file keeps its version open, whatever becomes of the file.
func TestAnOpenBootFileOutlivesItsVersionsFile(t *testing.T) {
	dir := t.TempDir()
	sum := writeBooted(t, dir)
	s := NewStore("main", dir, StoreOptions{})
	s.Scan()
	f, err := s.OpenBoot("disk", 0, BootKernel)
	if err != nil {
		t.Fatal(err)
	}
	v := f.v
	os.Remove(sum.Path)
	s.Scan()
	if _, err := s.OpenBoot("disk", 0, BootKernel); !errors.Is(err, ErrNotHere) {
		t.Errorf("a version that is gone: %v", err)
	}
	s.Close()
	if got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size())); err != nil || !bytes.Equal(got, kernelBytes) {
		t.Errorf("read after the removal: %v", err)
	}
	if f.Close(); f.Close() != nil || v.retain() {
		t.Error("the version is still open")
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("a closed file is read")
	}
}

// Files of kinds that a later release adds are kept and skipped.
func TestBootFilesOfUnknownKindsAreSkipped(t *testing.T) {
	sum := writeBooted(t, t.TempDir())
	v := open(t, sum.Path)
	files := append([]bootEntry{}, v.boot.table...)
	files[2].kind = 9
	top := make([]byte, tree.MaxPage)
	n, _, err := v.ReadAnswer(top, v.levels, 0, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := os.OpenFile(sum.Path, os.O_RDWR, 0)
	f.WriteAt(encodeBootTable(files), v.seal.boot.offset)
	f.Close()
	reseal(t, sum.Path, func(s *seal) {
		s.boot.digest = bootDigest(files)
		s.id.Root = s.shape.Root(top[:n], s.boot.digest)
	})
	v = open(t, sum.Path)
	if info := v.Boot(); info.Others != 1 || info.CommandLine != "" || info.Problem != "" || info.Image.Size != int64(len(imageBytes)) {
		t.Errorf("%+v", info)
	}
	if r, err := v.Verify(context.Background(), VerifyOptions{}); err != nil || !r.Sound() {
		t.Errorf("verify: %+v, %v", r, err)
	}
	if got, err := readBootFile(v, BootImage); err != nil || !bytes.Equal(got, imageBytes) {
		t.Errorf("the boot image beside it: %v", err)
	}
}

// Boot files that cannot be stored are refused in words, all of them at once, and nothing is left behind.
func TestBadBootFilesAreRefusedInWords(t *testing.T) {
	huge := func(name string, size int64) BootSource {
		return BootSource{Name: name, Size: size, Open: func() (io.ReadCloser, error) { return nil, errors.New("must not be opened") }}
	}
	ofSize := func(size int64) BootFiles {
		f := bootFiles()
		f.Image.Size = size
		return f
	}
	for name, c := range map[string]struct {
		files BootFiles
		want  []string
	}{
		"too long":       {BootFiles{huge("k", MaxKernel+1), huge("i", MaxBootImage+1), strings.Repeat("x", 4097)}, []string{"kernel k", "boot image i", "4097 bytes"}},
		"empty":          {BootFiles{Kernel: huge("k", 0)}, []string{"kernel k is empty"}},
		"two lines":      {BootFiles{Kernel: huge("k", 1), CommandLine: "a\nb"}, []string{"byte 1", "one line"}},
		"without kernel": {BootFiles{Image: huge("i", 1)}, []string{"without a kernel"}},
		"unreadable":     {BootFiles{Kernel: huge("k", 1)}, []string{"store the kernel k", "must not be opened"}},
		"shorter":        {ofSize(int64(len(imageBytes)) + 1), []string{"store the boot image initrd", "changed while it was read"}},
		"longer":         {ofSize(int64(len(imageBytes)) - 1), []string{"store the boot image initrd", "changed while it was read"}},
	} {
		dir := t.TempDir()
		o := options(tree.MinChunk, tree.CodecZstd)
		o.Boot = c.files
		w, err := Create(dir, o)
		if err == nil {
			w.Write(make([]byte, 4096))
			_, err = w.Commit()
		}
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", name, err, want)
			}
		}
		if all, _ := os.ReadDir(dir); len(all) > 0 {
			t.Errorf("%s: %v is left", name, all)
		}
	}
}

// Who wants to end an import need not wait for a large boot image.
func TestACancelledCommitStopsWithinABootFile(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := options(tree.MinChunk, tree.CodecZstd)
	endless := io.NopCloser(readerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }))
	o.Boot = BootFiles{Kernel: BootSource{Name: "k", Size: MaxKernel, Open: func() (io.ReadCloser, error) { return endless, nil }}}
	dir := t.TempDir()
	w, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 4096))
	if _, err := w.commit(ctx); !errors.Is(err, context.Canceled) || w.Stored() > 8<<20 {
		t.Errorf("%v after %d bytes", err, w.Stored())
	}
	if all, _ := os.ReadDir(dir); len(all) > 0 {
		t.Errorf("%v is left", all)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
