package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/bootimage"
	"github.com/spate-project/spate/cmd/internal/bootimage/fakekernel"
	"github.com/spate-project/spate/vdisk"
)

const kernelVersion = "6.1.0-9-test"

// target makes a program that can be init of a boot image.
func target(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spate-target")
	if err := os.WriteFile(path, fakekernel.Program(false), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// rootFolder makes a root folder with a kernel and an init, as small as can be.
func rootFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := fakekernel.Install(dir, kernelVersion); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"sbin/init": "#!/bin/sh\n", "etc/shadow": "root:$6$x:1::::::\n", "etc/hostname": "golden\n", "proc/1/stat": "volatile"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestABootImageIsBuiltAndShown(t *testing.T) {
	dir := t.TempDir()
	out, kernel := filepath.Join(dir, "boot.img"), filepath.Join(dir, "vmlinuz")
	text, errs, code := run(t, nil, "bootimage", "build", "--modules", rootFolder(t), "--init", target(t), "--out", out, "--kernel-out", kernel, "--add", kernelFile(t)+":/etc/extra")
	if code != 0 || errs != "" || !strings.Contains(text, "modules: always       ") || !strings.Contains(text, "nbd\n") || !strings.Contains(text, "ext4 overlay\n") ||
		!strings.Contains(text, "for kernel "+kernelVersion+"\n") || !strings.Contains(text, "not in this kernel: af_packet xfs ") {
		t.Fatalf("%d %s\n%s", code, errs, text)
	}
	if b, err := os.ReadFile(kernel); err != nil || !bytes.Equal(b, fakekernel.Kernel()) {
		t.Errorf("the kernel: %v", err)
	}
	if !strings.Contains(text, "one part, which every machine loads: there is no driver of a common card in it") {
		t.Errorf("nothing is said of parts: %s", text)
	}
	if text, _, code = run(t, nil, "bootimage", "show", out); code != 0 || !strings.Contains(text, "5000  etc/extra\n") || !strings.Contains(text, "crw-------  0     dev/console\n") ||
		!strings.Contains(text, "packed: zstd\n") {
		t.Errorf("show: %d\n%s", code, text)
	}
	if _, errs, code = run(t, nil, "bootimage", "build", "--out", out); code != exitUsage || !strings.Contains(errs, "--modules DIR or --kernel-package FILE") {
		t.Errorf("%d %s", code, errs)
	}
	if _, errs, code = run(t, nil, "bootimage", "show", kernel); code != exitFailed || !strings.Contains(errs, "not a boot image") {
		t.Errorf("%d %s", code, errs)
	}
}

// What a machine with a common card loads, and which modules are in which part, stands in both reports.
func TestTheReportOfABootImageSaysWhatIsInWhichPart(t *testing.T) {
	root, out := rootFolder(t), filepath.Join(t.TempDir(), "boot.img")
	for name, alias := range map[string]string{"virtio_pci": "pci:v00001AF4d*sv*sd*bc*sc*i*", "mlx5_core": "pci:v000015B3d00001017sv*sd*bc*sc*i*"} {
		path := filepath.Join(root, "lib/modules", kernelVersion, "kernel", name+".ko")
		if err := os.WriteFile(path, fakekernel.Module(kernelVersion, "alias="+alias), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"bootimage", "build", "--modules", root, "--init", target(t), "--out", out}
	text, errs, code := run(t, nil, args...)
	if code != 0 || !regexp.MustCompile(`(?m)^modules: by device, second part +[0-9].* +mlx5_core$`).MatchString(text) || !regexp.MustCompile(`(?m)^modules: by device  +[0-9].* +virtio_pci$`).MatchString(text) ||
		!regexp.MustCompile(`(?m)^first part: .*, for machines with one of 1 kinds of common cards; second part: `).MatchString(text) {
		t.Errorf("%d %s\n%s", code, errs, text)
	}
	shown, _, _ := run(t, nil, "bootimage", "show", out)
	if _, err := vdisk.BootFileAt(vdisk.BootImage, out); err != nil {
		t.Errorf("a vDisk does not take it: %v", err)
	}
	text, _, _ = run(t, nil, append(args, "--json")...)
	var j bootImageJSON
	if err := json.Unmarshal([]byte(text), &j); err != nil || j.Parts == nil || j.Parts.First+j.Parts.Second != j.Bytes || j.Parts.Cards != 1 || j.Whole != "" {
		t.Fatalf("%v\n%s", err, text)
	}
	if !strings.Contains(shown, fmt.Sprintf("first part: %d bytes of the file", j.Parts.First)) || !strings.Contains(shown, "packed: none, zstd\n") {
		t.Errorf("shown as\n%s", shown)
	}
	for _, m := range j.Modules {
		if (m.Part == 2) != (m.Name == "mlx5_core" || m.Name == "overlay") {
			t.Errorf("%+v", m)
		}
	}
}

// From a root folder to a vDisk that carries all that a machine boots it with.
func TestARootFolderBecomesAVdiskThatBoots(t *testing.T) {
	if _, err := exec.LookPath("mke2fs"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs mke2fs, of the package e2fsprogs, and root")
	}
	store, root, scratch := t.TempDir(), rootFolder(t), t.TempDir()
	args := []string{"vdisk", "build", "--from", root, "--size", "128M", "--name", "lab", "--store", store, "--init", target(t),
		"--command-line", "panic=5", "--scratch", scratch}
	out, errs, code := run(t, nil, args...)
	if code != 0 || !strings.Contains(out, "lab version 0: 128.0 MiB disk") || !strings.Contains(out, "on the console: root, with a password\n") ||
		!strings.Contains(out, `note: /etc/hostname says "golden"`) || !strings.Contains(out, "{name: lab, store: STORE}") || !strings.Contains(errs, "storing the vDisk: ") {
		t.Fatalf("%d %s\n%s", code, errs, out)
	}
	v, err := vdisk.Open(filepath.Join(store, "lab.0.spate"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got := v.Boot().CommandLine; got != standardLine+" rootfstype=ext4 panic=5" {
		t.Errorf("command line %q", got)
	}
	read := func(kind vdisk.BootKind) []byte {
		f, err := v.OpenBoot(kind)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(read(vdisk.BootKernel), fakekernel.Kernel()) {
		t.Error("another kernel")
	}
	files, _, err := bootimage.Show(bytes.NewReader(read(vdisk.BootImage)))
	if err != nil || !strings.Contains(joined(files), "lib/modules/"+kernelVersion+"/kernel/fs/ext4/ext4.ko\n") {
		t.Errorf("%v\n%s", err, joined(files))
	}
	if _, errs, code = run(t, nil, args...); code != exitFailed || !strings.Contains(errs, "has lab version 0 already") {
		t.Errorf("again: %d %s", code, errs)
	}
	out, errs, code = run(t, nil, append(args, "--new-version", "--json")...)
	var j buildJSON
	if err := json.Unmarshal([]byte(out), &j); err != nil || code != 0 || j.Version != 1 || j.Kernel != kernelVersion || j.Modules != 3 || len(j.Notes) != 1 {
		t.Errorf("--json: %d %v %s\n%s", code, err, errs, out)
	}
	if left, _ := os.ReadDir(scratch); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func joined(files []bootimage.Entry) string {
	var b strings.Builder
	for _, f := range files {
		b.WriteString(f.Name + "\n")
	}
	return b.String()
}

// All that is missing is said at once, before anything is done.
func TestWhatABuildLacksIsSaidAtOnce(t *testing.T) {
	private := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(private, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, code := run(t, nil, "vdisk", "build", "--mmdebstrap", "bookworm", "--size", "lots", "--name", "a b", "--store", filepath.Join(private, "x"), "--fs", "ntfs",
		"--ssh-key", private, "--init", private, "--command-line", "two\nlines")
	for _, want := range []string{`"lots" is not a size`, `vDisk name "a b"`, "--store: ", "ext4 or btrfs", "--ssh-key: ", "is not a program for Linux", "nothing was begun"} {
		if !strings.Contains(errs, want) {
			t.Errorf("does not say %q:\n%s", want, errs)
		}
	}
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	empty := t.TempDir()
	_, errs, _ = run(t, nil, "vdisk", "build", "--from", empty, "--size", "1G", "--name", "x", "--store", empty, "--init", target(t))
	if os.Geteuid() == 0 && (!strings.Contains(errs, "no /sbin/init") || !strings.Contains(errs, "has no kernel modules")) {
		t.Errorf("an empty folder: %s", errs)
	}
	_, errs, _ = run(t, nil, "vdisk", "build", "--from", rootFolder(t), "--size", "1G", "--name", "x", "--store", empty, "--init", target(t), "--cards", "nocard")
	if !strings.Contains(errs, "has no module nocard") || !strings.Contains(errs, "nothing was begun") {
		t.Errorf("a driver that the kernel does not have: %s", errs)
	}
	_, errs, _ = run(t, nil, "vdisk", "build", "--mmdebstrap", "B:", "--size", "1G", "--name", "x", "--store", empty, "--init", target(t),
		"--root-password-file", empty+"/a", "--ssh-key", empty+"/b", "--firmware", empty+"/c", "--add", empty+"/d:/d")
	for _, want := range []string{"--root-password-file: ", "--ssh-key: ", "--firmware: ", "--add: ", `"B:" is not the name of a release`} {
		if !strings.Contains(errs, want) {
			t.Errorf("does not say %q:\n%s", want, errs)
		}
	}
	sound := []string{"vdisk", "build", "--from", rootFolder(t), "--size", "1G", "--name", "x", "--store", empty, "--init", target(t)}
	for _, args := range [][]string{{"--fs", "ntfs"}, {"--codec", "rar"}, {"--chunk", "3X"}, {"--name", "a b"}, {"--command-line", "a\nb", "--codec", "rar"}} {
		if _, errs, code := run(t, nil, append(slices.Clone(sound), args...)...); os.Geteuid() == 0 && code != exitUsage || !strings.Contains(errs, args[0]) {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	for _, args := range [][]string{
		{"--size", "1G"}, {"--from", "/", "--mmdebstrap", "x"}, {"--from", "/", "--size", "1G", "--name", "x"}, {"--from", "/", "--size", "1G", "--name", "x", "--store", "/", "--no-login"},
		{"--mmdebstrap", "x", "--size", "1G", "--name", "x", "--store", "/", "--exclude", "a"}, {"--from", "/", "--size", "1G", "--name", "x", "--store", "/", "--add", "nonsense"},
	} {
		if _, errs, code := run(t, nil, append([]string{"vdisk", "build"}, args...)...); code != exitUsage {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}
