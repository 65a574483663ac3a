package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spate-project/spate/vdisk"
)

// begin makes a file that begins with pieces at offsets.
func begin(t *testing.T, name string, pieces map[int]string) string {
	t.Helper()
	b := make([]byte, 5000)
	for at, p := range pieces {
		copy(b[at:], p)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func kernelFile(t *testing.T) string { return begin(t, "vmlinuz", map[int]string{0x202: "HdrS"}) }

func bootImageFile(t *testing.T) string {
	return begin(t, "boot.img", map[int]string{0: "\x28\xb5\x2f\xfd"})
}

// From files to a vDisk that tells what it is booted with, in words and in JSON.
func TestAVdiskIsImportedWithItsKernel(t *testing.T) {
	store := t.TempDir()
	out, errs, code := run(t, nil, "vdisk", "import", imageFile(t), "--into", store, "--kernel", kernelFile(t), "--boot-image", bootImageFile(t),
		"--command-line", "rootfstype=ext4 quiet")
	if code != 0 || !strings.Contains(out, ", boots with its own kernel, root ") {
		t.Fatalf("import: %d %q %q", code, out, errs)
	}
	if out, _, code = run(t, nil, "vdisk", "list", "--store", store); code != 0 || !strings.Contains(out, "  kernel, image   ok\n") {
		t.Errorf("list: %d\n%s", code, out)
	}
	out, _, code = run(t, nil, "vdisk", "info", "debian12", "--store", store)
	if code != 0 || !strings.Contains(out, "\nkernel        4.9 KiB, ") || !strings.Contains(out, "\ncommand line  rootfstype=ext4 quiet\n") {
		t.Errorf("info: %d\n%s", code, out)
	}
	out, _, _ = run(t, nil, "vdisk", "info", "debian12", "--store", store, "--json")
	var v versionJSON
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Boot == nil || v.Boot.Kernel.Size != 5000 || v.Boot.Image.Size != 5000 ||
		v.Boot.CommandLine != "rootfstype=ext4 quiet" || len(v.Boot.Digest) != 64 {
		t.Errorf("info --json: %v\n%s", err, out)
	}
	if out, _, code = run(t, nil, "vdisk", "verify", "--store", store); code != 0 || !strings.Contains(out, "1.0 MiB and 9.8 KiB to boot it with checked") {
		t.Errorf("verify: %d\n%s", code, out)
	}
	path := filepath.Join(store, "debian12.0.spate")
	f, _ := os.OpenFile(path, os.O_RDWR, 0)
	st, _ := f.Stat()
	f.WriteAt([]byte{1}, st.Size()-3*4096) // in the boot image, with the command line behind it
	f.Close()
	out, _, code = run(t, nil, "vdisk", "verify", "--store", store)
	if code != exitDamaged || !strings.Contains(out, "DAMAGED, 1 complaint") || !strings.Contains(out, "\n  boot image: has another hash") ||
		!strings.Contains(out, "what to do: copy the file of a server") {
		t.Errorf("verify with damage: %d\n%s", code, out)
	}
	if _, errs, code = run(t, nil, "vdisk", "adopt", "debian12", "--store", store); code != exitDamaged || !strings.Contains(errs, "boot image") {
		t.Errorf("adopt: %d %q", code, errs)
	}
}

// Files that cannot be booted are refused before anything is imported, all of them at once, each with what it is.
func TestFilesThatCannotBeBootedAreRefusedInWords(t *testing.T) {
	kernel, image := kernelFile(t), bootImageFile(t)
	elf := begin(t, "vmlinux", map[int]string{0: "\x7fELF"})
	lz4 := begin(t, "boot.lz4", map[int]string{0: "\x04\x22\x4d\x18"})
	program := begin(t, "setup.exe", map[int]string{0: "MZ", 60: "\x80"})
	empty := filepath.Join(t.TempDir(), "empty")
	os.WriteFile(empty, nil, 0o600)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--kernel", elf, "--boot-image", lz4, "--command-line", "a\tb"},
			[]string{"3 things are wrong", "kernel " + elf + ": is an ELF file", "boot image " + lz4 + ": is lz4 in a form", "--command-line: byte 1"}},
		{[]string{"--kernel", image}, []string{"is compressed", "--boot-image"}},
		{[]string{"--kernel", kernel, "--boot-image", kernel}, []string{"boot image " + kernel + ": is a kernel and no boot image"}},
		{[]string{"--kernel", program}, []string{"is no Linux kernel"}},
		{[]string{"--kernel", empty}, []string{"has 0 B"}},
		{[]string{"--kernel", t.TempDir()}, []string{"is not a file"}},
		{[]string{"--kernel", "/no/such/vmlinuz"}, []string{"kernel /no/such/vmlinuz: no such file"}},
		{[]string{"--kernel", kernel, "--boot-image", imageFile(t)}, []string{"is no initramfs", "spate bootimage build"}},
		{[]string{"--command-line", "quiet"}, []string{"without --kernel"}},
		{[]string{"--command-line", "a\tb"}, []string{"--command-line: byte 1", "without --kernel"}},
	} {
		exit := exitFailed
		if c.args[0] == "--command-line" { // nothing is wrong but the flags
			exit = exitUsage
		}
		store := t.TempDir()
		_, errs, code := run(t, nil, append([]string{"vdisk", "import", imageFile(t), "--into", store}, c.args...)...)
		for _, want := range c.want {
			if code != exit || !strings.Contains(errs, want) {
				t.Errorf("%v: exit %d, does not say %q: %s", c.args, code, want, errs)
			}
		}
		if all, _ := os.ReadDir(store); len(all) > 0 {
			t.Errorf("%v: %v is left", c.args, all)
		}
	}
}

func TestKernelsOfEachKindAreTaken(t *testing.T) {
	for name, path := range map[string]string{
		"x86": kernelFile(t), "arm64": begin(t, "k", map[int]string{56: "ARM\x64"}),
		"EFI": begin(t, "k", map[int]string{0: "MZ", 60: "\x80\x00\x00\x00", 0x80: "PE\x00\x00"}),
	} {
		if s, err := vdisk.BootFileAt(vdisk.BootKernel, path); err != nil || s.Size != 5000 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	for _, magic := range []string{"070701", "\x1f\x8b\x08", "\xfd7zXZ\x00", "\x02\x21\x4c\x18", "\x28\xb5\x2f\xfd"} {
		if _, err := vdisk.BootFileAt(vdisk.BootImage, begin(t, "i", map[int]string{0: magic})); err != nil {
			t.Errorf("%q: %v", magic, err)
		}
	}
}
