package vdisk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

// imageFile writes an image with holes where it is zero.
func imageFile(t testing.TB, name string, disk []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := 0; at < len(disk); at += 4096 {
		if b := disk[at:min(at+4096, len(disk))]; !tree.IsZero(b) {
			if _, err := f.WriteAt(b, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Truncate(int64(len(disk))); err != nil {
		t.Fatal(err)
	}
	return path
}

func importOptions(source, into string) ImportOptions {
	return ImportOptions{Source: source, Into: into, Codec: tree.CodecZstd, Who: "tester@lab", Now: sealTime, Workers: 2}
}

// same fails unless the version at path holds disk.
func same(t *testing.T, path string, disk []byte) {
	t.Helper()
	v := open(t, path)
	if got, err := content(v); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("%s: comes back otherwise, error %v", path, err)
	}
}

func TestARawImageIsImportedWithItsHoles(t *testing.T) {
	disk := image(71, 12<<20+512)
	clear(disk[2<<20 : 9<<20])
	into := t.TempDir()
	var last Progress
	o := importOptions(imageFile(t, "my disk.img", disk), into)
	o.Progress = func(p Progress) { last = p }
	r, err := Import(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "my-disk" || r.Number != 0 || r.Format != FormatRaw || r.ZeroBytes < 6<<20 || r.Logical != tree.Sum(disk) {
		t.Errorf("%+v", r)
	}
	if last.Done != int64(len(disk)) || last.Total != int64(len(disk)) || last.Stage != StageStore {
		t.Errorf("last progress %+v", last)
	}
	if want := "my-disk version 0: 12.0 MiB disk, "; !strings.HasPrefix(r.String(), want) {
		t.Errorf("%s", r)
	}
	same(t, r.Path, disk)
}

// A size that is no multiple of a sector is rounded up with zeros, and that is said.
func TestSizeIsRoundedUpToSectorsAndSaid(t *testing.T) {
	for _, size := range []int{1, 511, 513, 100001} {
		disk := image(uint64(size), size)
		disk[size-1] = 1
		for _, source := range []string{imageFile(t, "x.img", disk), "-"} {
			var said []string
			o := importOptions(source, t.TempDir())
			o.Name, o.Input, o.Warn = "x", bytes.NewReader(disk), func(s string) { said = append(said, s) }
			r, err := Import(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(said) != 1 || !strings.Contains(said[0], fmt.Sprintf("%d bytes and was rounded up to %d", size, r.Shape.Size)) {
				t.Errorf("%d bytes from %s: said %q", size, source, said)
			}
			same(t, r.Path, append(bytes.Clone(disk), make([]byte, (512-size%512)%512)...))
		}
	}
}

func TestAnExistingNameNeedsNewVersion(t *testing.T) {
	into := t.TempDir()
	source := imageFile(t, "disk.img", image(74, 8192))
	for want := range uint32(3) {
		o := importOptions(source, into)
		o.NewVersion = want > 0
		r, err := Import(context.Background(), o)
		if err != nil || r.Number != want {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	_, err := Import(context.Background(), importOptions(source, into))
	if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "--new-version") {
		t.Errorf("without: %v", err)
	}
}

// What is not an image, or not a whole one, is refused with what it is and what to do, and nothing is left.
func TestBadImagesAreRefusedInWords(t *testing.T) {
	dynamic := bytes.Repeat([]byte{0}, 4096)
	copy(dynamic, footerCookie)
	cutFixed := vhdFooter(1<<20, vhdFixed)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"empty.img", nil, "is empty"},
		{"disk.img.gz", []byte("\x1f\x8b\x08 some more bytes"), "zcat IMAGE | spate vdisk import -"},
		{"disk.xz", []byte("\xfd7zXZ\x00 and more"), "xzcat"},
		{"old.qcow", []byte("QFI\xfb\x00\x00\x00\x01 and more"), "qemu-img convert"},
		{"cut.vhd", dynamic, "it was cut"},
		{"fixed.vhd", append(make([]byte, 4096), cutFixed...), "is a VHD of 1048576 bytes cut to 4096"},
		{"garbage.qcow2", bytes.Repeat([]byte("garbage "), 1000), "does not begin as a qcow2 image"},
		{"garbage.VHD", bytes.Repeat([]byte("garbage "), 1000), "does not begin as a vhd image"},
		{"garbage.vhdx", bytes.Repeat([]byte("garbage "), 1000), "import - --name NAME --into DIR < garbage.vhdx"},
		{"diff.vhd", append(make([]byte, 4096), vhdFooter(1<<20, vhdDifferencing)...), "needs its parent"},
	} {
		path := filepath.Join(t.TempDir(), c.name)
		if err := os.WriteFile(path, c.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		into := t.TempDir()
		if _, err := Import(context.Background(), importOptions(path, into)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if all, _ := os.ReadDir(into); len(all) != 0 {
			t.Errorf("%s: %v is left", c.name, all)
		}
	}
	for source, want := range map[string]string{
		t.TempDir(): "neither a file nor a block device", "/dev/null": "neither a file nor a block device", "/no/such": "no such file",
	} {
		o := importOptions(source, t.TempDir())
		o.Name = "x"
		if _, err := Import(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", source, err)
		}
	}
	if _, err := Import(context.Background(), importOptions(imageFile(t, "a.img", image(1, 512)), "/no/such")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no store: %v", err)
	}
}

func TestAnImageThatChangesIsNotImported(t *testing.T) {
	disk := image(75, 9<<20)
	for name, change := range map[string]func(f *os.File){
		"written": func(f *os.File) { f.WriteAt([]byte("x"), 100) },
		"longer":  func(f *os.File) { f.Truncate(10 << 20) },
		"shorter": func(f *os.File) { f.Truncate(1 << 20) },
	} {
		path := imageFile(t, "disk.img", disk)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		into := t.TempDir()
		o := importOptions(path, into)
		done := false
		o.Progress = func(Progress) {
			if !done {
				done = true
				change(f)
			}
		}
		if _, err := Import(context.Background(), o); err == nil || !strings.Contains(err.Error(), "while it was read") {
			t.Errorf("%s: %v", name, err)
		}
		if all, _ := os.ReadDir(into); len(all) != 0 {
			t.Errorf("%s: %v is left", name, all)
		}
		f.Close()
	}
}

func TestACancelledImportLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := importOptions(imageFile(t, "disk.img", image(76, 9<<20)), t.TempDir())
	o.Progress = func(Progress) { cancel() }
	if _, err := Import(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if all, _ := os.ReadDir(o.Into); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

// full is files on a file system that is full after some bytes.
type full struct {
	system
	left int64
}

type fullFile struct {
	file
	fs *full
}

func (f *full) create(dir, name string) (file, error) {
	inner, err := f.system.create(dir, name)
	return &fullFile{inner, f}, err
}

func (f *full) publish(x file, name string) error { return f.system.publish(x.(*fullFile).file, name) }

func (f *fullFile) Write(p []byte) (int, error) {
	if f.fs.left -= int64(len(p)); f.fs.left < 0 {
		return 0, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return f.file.Write(p)
}

func TestAFullStoreIsCleanedUpAndSaysWhatIsNeeded(t *testing.T) {
	disk := image(77, 60<<20)
	o := importOptions(imageFile(t, "disk.img", disk), t.TempDir())
	o.Codec, o.files = tree.CodecNone, &full{left: 10 << 20}
	_, err := Import(context.Background(), o)
	if !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "are needed in all") {
		t.Errorf("%v", err)
	}
	if all, _ := os.ReadDir(o.Into); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

// vhdFooter makes the footer of a VHD.
func vhdFooter(size int64, kind uint32) []byte {
	b := make([]byte, footerSize)
	copy(b, footerCookie)
	binary.BigEndian.PutUint64(b[48:], uint64(size))
	binary.BigEndian.PutUint32(b[60:], kind)
	sum := uint32(0)
	for _, c := range b {
		sum += uint32(c)
	}
	binary.BigEndian.PutUint32(b[64:], ^sum)
	return b
}

func FuzzFooter(f *testing.F) {
	f.Add(vhdFooter(1<<20, vhdFixed))
	f.Add(vhdFooter(1<<40, vhdDynamic)[:511])
	f.Add([]byte(footerCookie))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFooter(b)
		if err == nil && (got.size <= 0 || got.kind < vhdFixed || got.kind > vhdDifferencing) {
			t.Fatalf("accepted: %+v", got)
		}
		if format, err := detect(b[:min(len(b), probeHead)], b[max(0, len(b)-footerSize):], int64(len(b))); err == nil && format == "" {
			t.Fatal("an image of no format")
		}
	})
}

// needTool skips a test that needs a program, naming the Debian package.
func needTool(t *testing.T, tool, debian string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not here: install the Debian package %s", tool, debian)
	}
}

func qemu(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(qemuImg, args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v: %s", args, err, out)
	}
}

// Images that qemu-img made of one raw image, in every format and flavour, give the same disk, to the bit; the
// end of a VHD too, whose cylinders, heads and sectors do not come out even.
func TestForeignFormatsAreBitIdentical(t *testing.T) {
	needTool(t, qemuImg, "qemu-utils")
	disk := image(79, 33<<20+3*512)
	copy(disk[len(disk)-512:], bytes.Repeat([]byte{0xa5}, 512))
	raw := imageFile(t, "raw.img", disk)
	dir := t.TempDir()
	into := t.TempDir()
	want := ""
	for i, c := range []struct {
		format Format
		opts   string
	}{
		{FormatQcow2, ""}, {FormatQcow2, "compat=0.10"}, {FormatQcow2, "cluster_size=2M,compression_type=zstd"}, {FormatVHDX, ""},
		{FormatVPC, "subformat=dynamic,force_size=on"}, {FormatVPC, "subformat=fixed,force_size=on"}, {FormatVMDK, ""},
		{FormatVMDK, "subformat=streamOptimized"}, {FormatVDI, ""}, {FormatVDI, "static=on"},
	} {
		path := filepath.Join(dir, fmt.Sprintf("a,b:%d.%s", i, c.format))
		args := []string{"convert", "-f", "raw", "-O", string(c.format)}
		if c.opts != "" {
			args = append(args, "-o", c.opts)
		}
		if strings.Contains(c.opts, "zstd") {
			args = append(args, "-c")
		}
		qemu(t, append(args, raw, path)...)
		o := importOptions(path, into)
		o.Name, o.NewVersion = "disk", true
		r, err := Import(context.Background(), o)
		if err != nil {
			t.Errorf("%v %s: %v", c.format, c.opts, err)
			continue
		}
		if r.Format != c.format {
			t.Errorf("%v %s: taken for %v", c.format, c.opts, r.Format)
		}
		if r.Shape.Size == int64(len(disk)) {
			same(t, r.Path, disk)
		} else {
			// VHDX and VDI keep whole MiB: the disk, then zeros.
			same(t, r.Path, append(bytes.Clone(disk), make([]byte, r.Shape.Size-int64(len(disk)))...))
		}
		if want == "" {
			want = r.ID.Root.String()
		} else if r.Shape.Size == int64(len(disk)) && r.ID.Root.String() != want {
			t.Errorf("%v %s: another root", c.format, c.opts)
		}
	}
	left, _ := filepath.Glob(filepath.Join(into, ".*"))
	if len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// An image that names other files would let whoever made it read any file of the server.
func TestForeignImagesThatAreNotWholeAreRefused(t *testing.T) {
	needTool(t, qemuImg, "qemu-utils")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	raw := imageFile(t, "raw.img", image(80, 12<<20))
	qemu(t, "create", "-f", "qcow2", "-b", raw, "-F", "raw", at("overlay.qcow2"))
	qemu(t, "create", "-f", "qcow2", "-o", "data_file="+at("data.raw")+",data_file_raw=on", at("external.qcow2"), "1M")
	qemu(t, "convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", raw, at("flat.vmdk"))
	for _, c := range []string{"qcow2", "vhdx", "vdi", "vmdk"} {
		qemu(t, "convert", "-O", c, raw, at("good."+c))
		good, _ := os.ReadFile(at("good." + c))
		os.WriteFile(at("cut."+c), good[:len(good)*3/4&^4095], 0o600)
	}
	garbage := bytes.Repeat([]byte("garbage"), 1000)
	copy(garbage, "QFI\xfb\x00\x00\x00\x03")
	os.WriteFile(at("garbage.qcow2"), garbage, 0o600)
	os.WriteFile(at("garbage.vhdx"), append([]byte("vhdxfile"), garbage...), 0o600)
	for name, want := range map[string]string{
		"overlay.qcow2": "backing file", "external.qcow2": "keeps its data in another file", "flat.vmdk": "keeps its data in another file",
		"garbage.qcow2": "begins as a qcow2 image and cannot be read", "garbage.vhdx": "begins as a vhdx image and cannot be read",
		"cut.qcow2": "cut or damaged", "cut.vhdx": "cut or damaged", "cut.vdi": "cut or damaged", "cut.vmdk": "cut or damaged",
	} {
		into := t.TempDir()
		_, err := Import(context.Background(), importOptions(at(name), into))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if all, _ := os.ReadDir(into); len(all) != 0 {
			t.Errorf("%s: %v is left", name, all)
		}
	}
}

func TestAMissingToolNamesItsPackage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.vhdx")
	os.WriteFile(path, append([]byte("vhdxfile"), make([]byte, 8192)...), 0o600)
	t.Setenv("PATH", t.TempDir())
	if _, err := Import(context.Background(), importOptions(path, t.TempDir())); !errors.Is(err, ErrNoTool) ||
		!strings.Contains(err.Error(), "qemu-utils") {
		t.Errorf("%v", err)
	}
}

func TestSizesAreToldWithUnits(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 8 << 30: "8.0 GiB", 1<<20 - 1: "1.0 MiB", 1 << 60: "1.0 EiB", 1536: "1.5 KiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
