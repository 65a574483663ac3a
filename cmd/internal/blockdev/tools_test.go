//go:build linux

package blockdev

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool runs a program of others and returns what it printed; it skips the test where the program is missing.
func tool(t *testing.T, debianPackage, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s from the Debian package %s", name, debianPackage)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sparse is an image like a real one: data, zeros and holes, and a length that is no multiple of a block.
func sparse() []byte {
	random := rand.New(rand.NewPCG(3, 3))
	image := make([]byte, 24<<20+1536)
	for off := 0; off < len(image); off += 64 << 10 {
		if random.IntN(3) > 0 {
			part := image[off:min(off+64<<10, len(image))]
			for i := range part {
				part[i] = byte(random.Uint32())
			}
		}
	}
	return image
}

// nbdinfo finds what the server offers, through LIST, INFO and the map of block status.
func TestNbdinfoDescribesTheDisk(t *testing.T) {
	image := sparse()
	path, _, _ := serve(t, NewMemoryOf(image, true), Options{Name: "debian12"})
	uri := "nbd+unix:///?socket=" + path
	out := tool(t, "libnbd-bin", "nbdinfo", "--list", uri)
	for _, want := range []string{
		`export="debian12"`, fmt.Sprintf("export-size: %d", len(image)), "base:allocation", "is_read_only: true",
		"can_multi_conn: true", "can_df: true", "can_flush: true", "block_size_maximum: 33554432", "using structured packets",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if out := tool(t, "libnbd-bin", "nbdinfo", "--map", uri); !strings.Contains(out, "hole,zero") || !strings.Contains(out, "data") {
		t.Errorf("the map is\n%s", out)
	}
	writable, _, _ := serve(t, NewMemory(1<<20), Options{})
	out = tool(t, "libnbd-bin", "nbdinfo", "nbd+unix:///?socket="+writable)
	for _, want := range []string{"is_read_only: false", "can_trim: true", "can_zero: true", "can_fua: true", "can_cache: true"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

// nbdcopy out of and into the disk, with its many requests on several connections, moves every byte.
func TestNbdcopyCopiesBothWays(t *testing.T) {
	for _, slow := range []bool{false, true} {
		image, dir := sparse(), folder(t)
		source, target := NewMemoryOf(image, true), NewMemory(int64(len(image)))
		source.Slow, target.Slow = slow, slow
		from, s, _ := serve(t, source, Options{})
		to, _, _ := serve(t, target, Options{})
		out := filepath.Join(dir, "out")
		tool(t, "libnbd-bin", "nbdcopy", "nbd+unix:///?socket="+from, out)
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, image) {
			t.Errorf("the copy in a file differs (%v)", err)
		}
		tool(t, "libnbd-bin", "nbdcopy", "nbd+unix:///?socket="+from, "nbd+unix:///?socket="+to)
		if !bytes.Equal(target.Bytes(), image) {
			t.Error("the copy on the other disk differs")
		}
		tool(t, "libnbd-bin", "nbdcopy", "--requests=64", "--connections=4", "nbd+unix:///?socket="+from, "null:")
		if n := s.Stats().Failures; n > 0 {
			t.Errorf("%d requests failed", n)
		}
	}
}

// QEMU compares the disk with the image, and writes to it.
func TestQemuImgComparesAndConverts(t *testing.T) {
	image, dir := sparse(), folder(t)
	file := filepath.Join(dir, "image")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		t.Fatal(err)
	}
	path, _, _ := serve(t, NewMemoryOf(image, true), Options{})
	out := tool(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "raw", file, "nbd:unix:"+path)
	if !strings.Contains(out, "Images are identical.") {
		t.Error(out)
	}
	target := NewMemory(int64(len(image)))
	to, _, _ := serve(t, target, Options{})
	tool(t, "qemu-utils", "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", file, "nbd:unix:"+to)
	if !bytes.Equal(target.Bytes(), image) {
		t.Error("what QEMU wrote differs")
	}
}

// fio writes at random at depth 32, trims, and verifies what it wrote.
func TestFioVerifiesWhatItWrote(t *testing.T) {
	path, s, _ := serve(t, NewMemory(32<<20), Options{})
	if out := tool(t, "fio", "fio", "--enghelp"); !strings.Contains(out, "nbd") {
		t.Skip("needs a fio (Debian package fio) that was built with its nbd engine")
	}
	out := tool(t, "fio", "fio", "--name=t", "--ioengine=nbd", "--uri=nbd+unix:///?socket="+path, "--rw=randrw", "--bsrange=512-64k",
		"--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--verify_state_save=0", "--size=32m", "--io_size=64m", "--randrepeat=1")
	if !strings.Contains(out, "err= 0") {
		t.Error(out)
	}
	if n := s.Stats().Failures; n > 0 {
		t.Errorf("%d requests failed", n)
	}
}
