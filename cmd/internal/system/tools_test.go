//go:build system

package system

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

// needTools skips the test when one of the programs is missing that it drives.
func needTools(t testing.TB) {
	t.Helper()
	need(t, "mke2fs", "e2fsprogs")
	need(t, "qemu-img", "qemu-utils")
	need(t, "nbdcopy", "libnbd-bin")
	need(t, "file", "file") // which nbdinfo asks
	need(t, "fio", "fio")
}

// sh runs a command and returns what it wrote.
func sh(t testing.TB, args ...string) string {
	t.Helper()
	out, err := lab.Run(soon(t), args...)
	ok(t, err)
	return out
}

// fileSystem makes an image of a real ext4 file system with a few thousand files: a part of Go's own sources.
func fileSystem(t testing.TB, image, sources string) string {
	t.Helper()
	root := strings.TrimSpace(sh(t, "go", "env", "GOROOT"))
	sh(t, "mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", filepath.Join(root, "src", sources), image, "160M")
	return image
}

// importImage brings an image into the stores of a farm under the farm's name.
func importImage(t testing.TB, f *lab.Farm, image string) {
	t.Helper()
	t.Log(strings.TrimSpace(sh(t, program("spate"), "vdisk", "import", image, "--into", f.Servers[0].Store, "--name", f.VDisk)))
	file := filepath.Join(f.Servers[0].Store, f.VDisk+".0.spate")
	for _, s := range f.Servers[1:] {
		ok(t, lab.CopyTo(s.Store, file))
	}
}

// emptyFarm is a farm whose stores the test fills.
func emptyFarm(t testing.TB, o lab.Options) *lab.Farm {
	t.Helper()
	o.Dir, o.Bin = folder(t), bin
	f, err := lab.NewFarm(o)
	ok(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// same compares two files byte by byte; where the second one is longer it must be zero.
func same(t testing.TB, a, b string) {
	t.Helper()
	fa, err := os.Open(a)
	ok(t, err)
	defer fa.Close()
	fb, err := os.Open(b)
	ok(t, err)
	defer fb.Close()
	pa, pb := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(pa)) {
		na, ea := io.ReadFull(fa, pa)
		nb, eb := io.ReadFull(fb, pb)
		clear(pa[na:])
		clear(pb[nb:])
		if na > nb || !bytes.Equal(pa, pb) {
			t.Fatalf("%s and %s differ within 1 MiB of %d", a, b, off)
		}
		if ea != nil && eb != nil {
			return
		}
	}
}

// The tools that people have for NBD work on the socket of a target as on any other, and see exactly the image.
func TestToolsWorkOnTheSocket(t *testing.T) {
	needTools(t)
	f := emptyFarm(t, lab.Options{Servers: 2})
	raw := fileSystem(t, filepath.Join(f.Dir, "ext4.raw"), "cmd")
	importImage(t, f, raw)
	ok(t, f.Start(soon(t)))
	target := attach(t, f, "t1", "--write-cache", "none")
	out := filepath.Join(f.Dir, "copy.raw")

	var info struct {
		Exports []struct {
			Size     int64 `json:"export-size"`
			ReadOnly bool  `json:"is_read_only"`
		}
	}
	ok(t, json.Unmarshal([]byte(sh(t, "nbdinfo", "--json", target.URI())), &info))
	if st, err := os.Stat(raw); err != nil || len(info.Exports) != 1 || info.Exports[0].Size != st.Size() || !info.Exports[0].ReadOnly {
		t.Errorf("nbdinfo says %+v, %v", info, err)
	}
	sh(t, "nbdcopy", target.URI(), out)
	same(t, raw, out)
	if said := sh(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, target.URI()); !strings.Contains(said, "identical") {
		t.Error(said)
	}
	sh(t, "e2fsck", "-f", "-n", out)
	// fio knows the crc of nothing here; it must see no error. It leaves a state file where it runs.
	sh(t, "fio", "--name=v", "--ioengine=nbd", "--uri="+target.URI(), "--rw=randread", "--bs=4k", "--iodepth=16", "--number_ios=4000",
		"--output="+filepath.Join(f.Dir, "fio.txt"))
	if _, err := lab.Run(soon(t), "qemu-io", "-f", "raw", "-c", "write 0 4k", target.URI()); err == nil {
		t.Error("a disk without a write cache took a write")
	}
	same(t, raw, read1(t, f, "after.raw"))
}

// read1 reads the farm's vDisk into a file of that name with `spate-target read`.
func read1(t testing.TB, f *lab.Farm, name string) string {
	t.Helper()
	out := filepath.Join(f.Dir, name)
	p := start(t, lab.Spawn{
		Name: "read", Args: append([]string{program("spate-target"), "read", "--out", out}, f.LoginFlags()...), Env: f.Environment(),
	})
	status, err := p.Wait(soon(t))
	ok(t, err)
	if status != 0 {
		t.Fatalf("spate-target read: status %d\n%s%s", status, p.Out, p.Log)
	}
	return out
}

// The same disk in every format that qemu-img makes is bit by bit the same vDisk.
func TestForeignImagesAreReadBackBitByBit(t *testing.T) {
	needTools(t)
	dir := folder(t)
	raw := fileSystem(t, filepath.Join(dir, "ext4.raw"), "cmd")
	for format, options := range map[string][]string{
		"raw": nil, "qcow2": nil, "vhdx": nil, "vpc": {"-o", "force_size=on"}, "vmdk": nil, "vdi": nil,
		"vpc fixed": {"-o", "subformat=fixed,force_size=on"}, "qcow2 compressed": {"-c"},
	} {
		t.Run(format, func(t *testing.T) {
			f := emptyFarm(t, lab.Options{Servers: 1})
			name, _, _ := strings.Cut(format, " ")
			image := filepath.Join(f.Dir, "image."+name)
			sh(t, append(append([]string{"qemu-img", "convert", "-f", "raw", "-O", name}, options...), raw, image)...)
			importImage(t, f, image)
			ok(t, f.Start(soon(t)))
			out := read1(t, f, "out.raw")
			same(t, raw, out)
			if a, b := sizeOf(t, raw), sizeOf(t, out); a != b {
				t.Errorf("the image has %d bytes, what was read %d", a, b)
			}
		})
	}
}

func sizeOf(t testing.TB, file string) int64 {
	t.Helper()
	st, err := os.Stat(file)
	ok(t, err)
	return st.Size()
}

// What is written is read back and is nobody else's: it lies in the memory of the one target.
func TestTheWriteCacheKeepsWhatIsWrittenForItsTargetOnly(t *testing.T) {
	needTools(t)
	f := emptyFarm(t, lab.Options{Servers: 2})
	raw := fileSystem(t, filepath.Join(f.Dir, "ext4.raw"), "cmd")
	importImage(t, f, raw)
	ok(t, f.Start(soon(t)))
	target, other := attach(t, f, "t1", "--write-cache", "ram:256M"), attach(t, f, "t2")
	sh(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 64k", "-c", "write -P 0x33 1052677 777", "-c", "flush", "-c", "read -P 0x33 1052677 777",
		"-c", "read -P 0x5a 1M 4k", "-c", "write -z 2M 1M", "-c", "read -P 0 2M 1M", "-c", "discard 3M 1M", target.URI())
	same(t, raw, copyOut(t, other, f.Dir, "other.raw"))

	// Another file system, made where the tools can reach it and copied in, is found sound when it is copied out.
	fresh := fileSystem(t, filepath.Join(f.Dir, "fresh.raw"), "crypto")
	sh(t, "nbdcopy", fresh, target.URI())
	out := copyOut(t, target, f.Dir, "mine.raw")
	same(t, fresh, out)
	sh(t, "e2fsck", "-f", "-n", out)
	s, err := target.Status(soon(t))
	ok(t, err)
	if s.CacheUsed == 0 || s.CacheMax < s.CacheUsed {
		t.Errorf("status shows %d of %d bytes of write cache in use", s.CacheUsed, s.CacheMax)
	}
	same(t, raw, copyOut(t, other, f.Dir, "other.raw"))
	same(t, raw, read1(t, f, "farm.raw"))
}

// copyOut copies a target's disk into a new file.
func copyOut(t testing.TB, target *lab.Target, dir, name string) string {
	t.Helper()
	out := filepath.Join(dir, name)
	os.Remove(out)
	sh(t, "nbdcopy", target.URI(), out)
	return out
}

// A write cache that is full makes writes wait, and says so; giving memory back lets them go on.
func TestAFullWriteCacheMakesWritesWait(t *testing.T) {
	needTools(t)
	f := startFarm(t, lab.Options{Servers: 1})
	target := attach(t, f, "t1", "--write-cache", "ram:4M")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { // ends with the writes, or with ctx
		_, err := lab.Run(ctx, "qemu-io", "-f", "raw", "-c", "write -P 1 0 2M", "-c", "write -P 2 8M 3M", target.URI())
		done <- err
	}()
	await(t, target.Process, "write cache is full")
	select {
	case err := <-done:
		t.Fatalf("5 MiB went into 4: %v", err)
	default:
	}
	sh(t, "qemu-io", "-f", "raw", "-c", "discard 0 2M", target.URI())
	ok(t, <-done)
	sh(t, "qemu-io", "-f", "raw", "-c", "read -P 2 8M 3M", target.URI())
}
