package bootimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"

	"github.com/spate-project/spate/bootsvc/parts"
	"github.com/spate-project/spate/cmd/internal/bootimage/fakekernel"
	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// build makes an image and unpacks it as kernels do, with a reader that is not ours.
func build(t *testing.T, o Options) (*Report, map[string][]byte) {
	t.Helper()
	if o.Init == "" {
		o.Init = program(t)
	}
	if o.Out == "" {
		o.Out = filepath.Join(t.TempDir(), "boot.img")
	}
	r, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for i, archive := range archives(t, b) {
		if packed := !bytes.HasPrefix(archive, []byte("070701")); packed == (o.Plain || r.Parts != nil && i == 0) {
			t.Errorf("archive %d begins with %q", i, archive[:6])
		}
		unpackAs(t, archive, files)
	}
	return r, files
}

// archives cuts a boot image where its head says that its parts are.
func archives(t *testing.T, b []byte) [][]byte {
	t.Helper()
	h, err := parts.Read(bytes.NewReader(b), int64(len(b)))
	if errors.Is(err, parts.ErrHead) {
		return [][]byte{b}
	}
	own, headErr := h.Bytes()
	if err := errors.Join(err, headErr); err != nil || !bytes.HasPrefix(b, own) {
		t.Fatal(err)
	}
	return [][]byte{own, b[len(own):h.First], b[h.First:]}
}

// unpackAs adds to files what an archive has. What is there already is replaced.
func unpackAs(t *testing.T, archive []byte, files map[string][]byte) {
	t.Helper()
	plain, _, err := unpack(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	a := cpio.NewReader(plain)
	for {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		above := filepath.Dir(h.Name)
		if _, ok := files[above]; above != "." && !ok {
			t.Errorf("%s comes before its folder", h.Name)
		}
		if files[h.Name], err = io.ReadAll(a); err != nil {
			t.Fatal(err)
		}
	}
}

func listOf(t *testing.T, files map[string][]byte) *modules.List {
	t.Helper()
	l, err := modules.Parse(bytes.NewReader(files[strings.TrimPrefix(modules.File, "/")]))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func names(steps []modules.Step) (all []string) {
	for _, s := range steps {
		all = append(all, strings.Repeat("?", map[bool]int{true: 1}[s.Soft])+s.Name)
	}
	return all
}

// Whatever the way in which modules are packed, they are in the image as they were signed, and each is loaded after what it
// needs.
func TestAnImageHasWhatItsModulesNeedInTheOrderOfLoading(t *testing.T) {
	r, files := build(t, Options{Modules: unpackedKernel(t), MoreModules: []string{"dummy", "rare"}})
	l := listOf(t, files)
	if l.Kernel != version || !slices.Equal(l.Base, []string{"nbd", "dummy"}) || !slices.Equal(l.FileSystems, []string{"overlay", "ext4"}) {
		t.Errorf("kernel %s, always %v, file systems %v", l.Kernel, l.Base, l.FileSystems)
	}
	for name, want := range map[string][]string{
		"ext4":       {"?crc32c_generic", "?crc32c_intel", "jbd2", "crc16", "ext4"},
		"virtio_net": {"net_failover", "virtio_net"}, // a circle, and one that is built in
		"igb":        {"dca", "igb"},                 // the one of updates/, which needs something else
		"rare":       {"rare", "?dummy"}, "mlx4_core": {"mlx4_core", "?mlx4_en"},
	} {
		if got := names(l.Order(name)); !slices.Equal(got, want) {
			t.Errorf("%s is loaded as %v, want %v", name, got, want)
		}
	}
	if got := l.Match("pci:v00008086d00001521sv00008086sd00000001bc02sc00i00"); !slices.Equal(got, []string{"igb"}) {
		t.Errorf("a card is driven by %v", got)
	}
	want := module("softdep=pre: crypto-crc32c", "depends=jbd2,crc16", "alias=fs-ext4")
	m, _ := l.Lookup("ext4")
	if got := files[m.Path[1:]]; m.Path != "/lib/modules/"+version+"/kernel/fs/ext4/ext4.ko" || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, want %d", m.Path, len(got), len(want))
	}
	for _, m := range r.Modules {
		if !m.Signed || m.Name == "ext4" && (m.Group != groupSystem || m.Bytes != int64(len(want))) || m.Name == "dca" && m.Group != groupNeeded {
			t.Errorf("reported: %+v", m)
		}
	}
	if !slices.Contains(r.BuiltIn, "af_packet") || !slices.Contains(r.Absent, "xfs") || filepath.Base(r.KernelFile) != "vmlinuz-"+version {
		t.Errorf("reported: built in %v, absent %v, kernel %s", r.BuiltIn, r.Absent, r.KernelFile)
	}
	for _, name := range []string{"proc", "sys", "dev", "run", "tmp", "newroot", "init"} {
		if _, ok := files[name]; !ok {
			t.Errorf("no /%s", name)
		}
	}
}

// The kernel opens /dev/console before there is a devtmpfs: the archive has the device with its numbers.
func TestTheConsoleIsADevice(t *testing.T) {
	out := filepath.Join(t.TempDir(), "boot.img")
	build(t, Options{Modules: unpackedKernel(t), Out: out, Plain: true})
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("dev/console\x00"))
	if at < 110 || at%4 != 110%4 {
		t.Fatalf("no record of dev/console, or not on four bytes: at %d", at)
	}
	h := string(b[at-110 : at])
	if h[:6] != "070701" || h[14:22] != "00002180" || h[54:62] != "00000000" || h[78:94] != "0000000500000001" || h[94:102] != "0000000C" {
		t.Errorf("the record is %s", h)
	}
}

func TestTheSameInputsMakeTheSameBytes(t *testing.T) {
	dir, init := unpackedKernel(t), program(t)
	pkg := filepath.Join(t.TempDir(), "linux.deb")
	write(t, pkg, deb(t, kernelFiles(), ".xz"))
	var first []byte
	for i, o := range []Options{{Modules: dir}, {Modules: filepath.Join(dir, "lib", "modules")}, {Modules: filepath.Join(dir, "lib/modules", version)}, {KernelPackage: pkg}} {
		o.Out, o.Init = filepath.Join(t.TempDir(), "x"), init
		build(t, o)
		b, err := os.ReadFile(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = b
		} else if !bytes.Equal(b, first) {
			t.Errorf("%+v makes %d other bytes than the %d of the first", o, len(b), len(first))
		}
	}
}

// Depmod's files say which of two modules counts, and what an alias means; without them the modules themselves do.
func TestModulesDepSaysWhichModuleCounts(t *testing.T) {
	dir := unpackedKernel(t)
	folder := filepath.Join(dir, "lib/modules", version)
	write(t, filepath.Join(folder, "modules.dep"), []byte("kernel/drivers/block/nbd.ko:\nkernel/fs/ext4/ext4.ko.xz: x\nkernel/fs/jbd2/jbd2.ko.zst:\nkernel/lib/crc16.ko.gz:\n"+
		"kernel/crypto/crc32c_generic.ko:\n../../evil.ko:\n"))
	write(t, filepath.Join(folder, "modules.alias"), []byte("# a comment\nalias crypto-crc32c crc32c_generic\nalias crypto-crc32c not_there\n"))
	r, files := build(t, Options{Modules: dir})
	if got := names(listOf(t, files).Order("ext4")); !slices.Equal(got, []string{"?crc32c_generic", "jbd2", "crc16", "ext4"}) || len(r.Modules) != 5 {
		t.Errorf("%v\n%+v", got, r.Modules)
	}
}

func TestEverythingThatIsMissingIsNamedAtOnce(t *testing.T) {
	dir := unpackedKernel(t)
	_, err := Build(t.Context(), Options{Modules: dir, Init: program(t), Out: filepath.Join(t.TempDir(), "x"),
		FileSystems: []string{"zfs"}, Cards: []string{"virtio_net", "e1000"}, MoreModules: []string{"bonding", "af_packet"}})
	if err == nil || !strings.Contains(err.Error(), "kernel "+version+": the kernel has no module zfs, e1000, bonding") {
		t.Errorf("%v", err)
	}
	file, gone := writeTemp(t, nil), filepath.Join(t.TempDir(), "gone")
	_, err = Build(t.Context(), Options{
		Modules: dir, Init: file, FileSystems: []string{"zfs"}, Firmware: file, Add: []Extra{{gone, "/etc/x"}, {file, "/init"}}, Out: gone + "/x", KernelOut: t.TempDir(),
	})
	for _, want := range []string{
		"7 things are wrong", file + " is not a program for Linux", "has no module zfs", "--firmware: " + file + " is no folder", "--add: " + gone + ": no such file",
		"--add: /init is made by this program", "--out: the folder " + gone + ": no such file", " is a folder: name a file in it",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
	for text, o := range map[string]Options{
		"either a folder":              {},
		"needs shared libraries":       {Modules: dir, Init: writeTemp(t, fakekernel.Program(true))},
		"is not a program for Linux":   {Modules: dir, Init: writeTemp(t, []byte("#!/bin/sh\n"))},
		"say where it is with --init":  {Modules: dir},
		"has no kernel modules":        {Modules: t.TempDir(), Init: program(t)},
		"there is no kernel 5.0, but ": {Modules: dir, Init: program(t), KernelVersion: "5.0"},
		"is not the package":           {KernelPackage: writeTemp(t, deb(t, map[string][]byte{"boot/x": nil}, ".gz")), Init: program(t)},
		"not a Debian package":         {KernelPackage: writeTemp(t, []byte("PK")), Init: program(t)},
		"is made by this program":      {Modules: dir, Init: program(t), Add: []Extra{{program(t), "/./init"}}},
		"/etc/spate/modules is made":   {Modules: dir, Init: program(t), Add: []Extra{{folderWith(t, "etc/spate/modules"), "/"}}},
	} {
		o.Out = filepath.Join(t.TempDir(), "x")
		if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("want %q, got %v", text, err)
		}
	}
}

func writeTemp(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, content)
	return path
}

// folderWith makes a folder with a file.
func folderWith(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, name), []byte("x"))
	return dir
}

// The old image stays until the new one is whole.
func TestAnInterruptedBuildLeavesTheOldImage(t *testing.T) {
	dir, init := unpackedKernel(t), program(t)
	pkg := writeTemp(t, deb(t, kernelFiles(), ".gz"))
	t.Setenv("TMPDIR", t.TempDir())
	for _, stage := range []string{StageUnpack, StageGather, StageWrite} {
		into := t.TempDir()
		out := filepath.Join(into, "boot.img")
		write(t, out, []byte("old"))
		ctx, stop := context.WithCancel(t.Context())
		o := Options{Modules: dir, Init: init, Out: out, Progress: func(p Progress) {
			if p.Stage == stage {
				stop()
			}
		}}
		if stage == StageUnpack {
			o.Modules, o.KernelPackage = "", pkg
		}
		_, err := Build(ctx, o)
		b, _ := os.ReadFile(out)
		entries, _ := os.ReadDir(into)
		left, _ := os.ReadDir(os.Getenv("TMPDIR"))
		if !errors.Is(err, context.Canceled) || string(b) != "old" || len(entries) != 1 || len(left) != 0 {
			t.Errorf("%s: %v, %q, %d files, %d left in the folder for temporary files", stage, err, b, len(entries), len(left))
		}
	}
}

func TestFirmwareAndFilesAreAdded(t *testing.T) {
	dir, firmware, extra := unpackedKernel(t), t.TempDir(), t.TempDir()
	write(t, filepath.Join(extra, "a/b.pem"), []byte("certificate"))
	r, files := build(t, Options{Modules: dir, AllNetwork: true, Firmware: firmware, Add: []Extra{{extra, "/etc/ssl"}}})
	if !slices.Equal(r.MissingFirmware, []string{"igb/new.bin"}) || string(files["etc/ssl/a/b.pem"]) != "certificate" {
		t.Errorf("missing %v, files %v", r.MissingFirmware, sorted(files))
	}
	if _, ok := listOf(t, files).Lookup("rare"); !ok {
		t.Error("a card below drivers/net/ethernet is missing")
	}
	write(t, filepath.Join(firmware, "igb/new.bin.xz"), []byte("packed firmware"))
	if r, files = build(t, Options{Modules: dir, Firmware: firmware}); len(r.MissingFirmware) != 0 || string(files["lib/firmware/igb/new.bin.xz"]) != "packed firmware" {
		t.Errorf("missing %v, files %v", r.MissingFirmware, sorted(files))
	}
}

// Nothing of a package is written outside the folder, and nothing but modules and kernel inside.
func TestAPackageIsUnpackedIntoItsFolderOnly(t *testing.T) {
	for _, how := range []string{"", ".gz", ".xz", ".zst"} {
		above := t.TempDir()
		dir := filepath.Join(above, "x")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unpackDeb(t.Context(), writeTemp(t, deb(t, kernelFiles(), how)), dir, func(int64, int64) {}); err != nil {
			t.Errorf("data.tar%s: %v", how, err)
		}
		var got []string
		_ = filepath.WalkDir(above, func(p string, d os.DirEntry, _ error) error {
			if rel, _ := filepath.Rel(dir, p); !d.IsDir() && !strings.HasPrefix(rel, "lib/modules/"+version) && rel != "boot/vmlinuz-"+version {
				got = append(got, rel)
			}
			return nil
		})
		if got != nil {
			t.Errorf("data.tar%s: also %v", how, got)
		}
	}
}

func TestTheOnlyKernelIsTakenAndOfSeveralTheOneThatIsNamed(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-56-cloud-amd64", "5.10.0"} {
		write(t, filepath.Join(dir, "usr/lib/modules", v, "kernel/x"), nil)
	}
	write(t, filepath.Join(dir, "boot/vmlinuz-5.10.0"), nil)
	all, err := FindKernels(dir)
	var got []string
	for _, k := range all {
		got = append(got, k.Version)
	}
	if err != nil || !slices.Equal(got, []string{"6.1.0-56-cloud-amd64", "6.1.0-56-amd64", "6.1.0-9-amd64", "5.10.0"}) {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := PickKernel(all, "", false); err == nil || !strings.Contains(err.Error(), "--kernel-version") {
		t.Errorf("one of four is taken: %v", err)
	}
	if k, err := PickKernel(all, "", true); err != nil || k.Version != got[0] || k.File != "" || len(k.Looked) != 3 {
		t.Errorf("the newest: %+v, %v", k, err)
	}
	if k, err := PickKernel(all, "5.10.0", true); err != nil || k.File != filepath.Join(dir, "boot/vmlinuz-5.10.0") {
		t.Errorf("the named one: %+v, %v", k, err)
	}
}

func TestWhatWasBuiltIsShown(t *testing.T) {
	out := filepath.Join(t.TempDir(), "boot.img")
	r, _ := build(t, Options{Modules: unpackedKernel(t), Out: out})
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, how, err := Show(bytes.NewReader(b))
	if err != nil || how != "none, zstd" || !reflect.DeepEqual(got, r.Files) {
		t.Errorf("%s, %v\n%v\n%v", how, err, got, r.Files)
	}
	if i := slices.IndexFunc(got, func(e Entry) bool { return e.Name == "dev/console" }); i < 0 || got[i].ModeString() != "crw-------" {
		t.Errorf("%v", got)
	}
	for _, c := range []struct {
		bytes []byte
		want  string
	}{
		{nil, "no cpio archive"}, {[]byte("#!/bin/sh\n# no archive at all, however long it is: a script, some text, another image's half, or a page of a captive portal\n"), "no cpio archive"},
		{b[:len(b)/2], "damaged"}, {[]byte("\xfd7zXZ\x00rubbish"), "xz"},
	} {
		if all, how, err := Show(bytes.NewReader(c.bytes)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d bytes of rubbish, packed %s: %v, %v", len(c.bytes), how, all, err)
		}
	}
}

// An image that was cut anywhere, or of which a byte is another one, is not shown as a whole one: the kernel would not take it.
func TestADamagedImageIsNotShownAsAWholeOne(t *testing.T) {
	dir := unpackedKernel(t)
	image := func(plain bool) []byte {
		out := filepath.Join(t.TempDir(), "boot.img")
		build(t, Options{Modules: dir, Out: out, Plain: plain})
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := image(true)
	mark := bytes.LastIndex(plain, []byte("TRAILER!!!")) + len("TRAILER!!!\x00")
	for n := 0; n < mark; n += 1 + min(7*n/100, mark-n-1) { // every place near the end is as good as another
		if all, _, err := Show(bytes.NewReader(plain[:n])); err == nil {
			t.Fatalf("cut to %d of %d bytes: %d names", n, len(plain), len(all))
		}
	}
	if _, _, err := Show(bytes.NewReader(plain[:mark])); err != nil {
		t.Errorf("without the zeros behind it: %v", err)
	}
	for _, how := range []string{".zst", ".gz", ".xz"} {
		b := packed(how, plain)
		if _, _, err := Show(bytes.NewReader(append(b, make([]byte, 512)...))); err != nil {
			t.Errorf("%s with zeros behind it: %v", how, err)
		}
		// The sum stands at the end, behind all that the archive's reader wants.
		at := map[string]int{".zst": 1, ".gz": 5, ".xz": 20}[how]
		b[len(b)-at] ^= 1
		if _, _, err := Show(bytes.NewReader(b)); err == nil {
			t.Errorf("%s with another sum is shown as a whole one", how)
		}
	}
}

// A package whose sum is wrong is not used, although all of its files could be read.
func TestADamagedPackageIsRefused(t *testing.T) {
	for how, at := range map[string]int{".zst": 1, ".gz": 5, ".xz": 20} {
		data := packed(how, dataTar(t, map[string][]byte{"boot/vmlinuz-1": []byte("kernel")}))
		for _, damage := range []byte{0, 1} {
			data[len(data)-at] ^= damage
			err := unpackDeb(t.Context(), writeTemp(t, ar("debian-binary", []byte("2.0\n"), "data.tar"+how, data)), t.TempDir(), func(int64, int64) {})
			if (err == nil) != (damage == 0) {
				t.Errorf("data.tar%s, damaged by %d: %v", how, damage, err)
			}
		}
	}
}
