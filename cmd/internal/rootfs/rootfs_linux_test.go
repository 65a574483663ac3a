package rootfs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// needs skips a test where a program or the rights are missing.
func needs(t *testing.T, problems ...string) {
	t.Helper()
	if len(problems) > 0 {
		t.Skip(strings.Join(problems, "; "))
	}
}

func put1(t *testing.T, dir, name, content string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// system makes a root folder with what is easily lost in a copy.
func system(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put1(t, dir, "usr/sbin/init", "#!/bin/sh\n", 0o755)
	put1(t, dir, "usr/bin/su", "set-uid", 0o755|os.ModeSetuid)
	put1(t, dir, "etc/shadow", "root:$6$x$y:1::::::\ndaemon:*:1::::::\nlocked:!$6$x:1::::::\n", 0o640)
	put1(t, dir, "etc/odd [name]*", "kept", 0o644)
	put1(t, dir, "srv/left out*", "left out", 0o644)
	put1(t, dir, "srv/left out too", "kept", 0o644)
	put1(t, dir, "run/pid", "volatile", 0o644)
	put1(t, dir, "tmp/.X/lock", "volatile", 0o644)
	put1(t, dir, "var/tmp/kept", "kept", 0o644)
	for _, err := range []error{
		os.Symlink("usr/sbin", filepath.Join(dir, "sbin")),
		os.Link(filepath.Join(dir, "usr/bin/su"), filepath.Join(dir, "usr/bin/su2")),
		os.Lchown(filepath.Join(dir, "etc/shadow"), 0, 42),
		os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky),
		unix.Setxattr(filepath.Join(dir, "usr/sbin/init"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stamps tells everything that a change of the folder would change.
func stamps(t *testing.T, dir string) map[string]syscall.Stat_t {
	t.Helper()
	all := map[string]syscall.Stat_t{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		st.Atim = syscall.Timespec{} // reading is no change
		all[path] = st
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestACopyHasEverythingButWhatIsVolatileAndTheFolderIsNotChanged(t *testing.T) {
	f := Folder{Without: []string{"srv/left out*"}}
	needs(t, append(asRoot(), missing(toolTar)...)...)
	f.Dir = system(t)
	before, to := stamps(t, f.Dir), t.TempDir()
	if err := f.Copy(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, stamps(t, f.Dir)) {
		t.Error("the folder was changed")
	}
	for path, want := range before {
		rel, _ := filepath.Rel(f.Dir, path)
		left := rel == "run/pid" || rel == "tmp/.X" || rel == "tmp/.X/lock" || rel == "srv/left out*"
		var got syscall.Stat_t
		err := syscall.Lstat(filepath.Join(to, rel), &got)
		if left != (err != nil) {
			t.Errorf("%s: left out %v, %v", rel, left, err)
		}
		if err == nil && (got.Mode != want.Mode || got.Uid != want.Uid || got.Gid != want.Gid || got.Mtim != want.Mtim && got.Mode&syscall.S_IFDIR == 0 || got.Nlink != want.Nlink && got.Mode&syscall.S_IFDIR == 0) {
			t.Errorf("%s:\n got %+v\nwant %+v", rel, got, want)
		}
	}
	b := make([]byte, 100)
	if n, err := unix.Getxattr(filepath.Join(to, "usr/sbin/init"), "security.capability", b); n != 20 || err != nil {
		t.Errorf("capabilities: %d bytes, %v", n, err)
	}
	bytes, files, err := f.Measure(t.Context())
	if err != nil || files != 17 || bytes < 9*blockSize || bytes > 2*17*blockSize {
		t.Errorf("measured %d bytes in %d files, %v", bytes, files, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := f.Copy(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted copy: %v", err)
	}
}

func TestAFolderBecomesAnImageThatIsFullyInitialised(t *testing.T) {
	i := Image{File: filepath.Join(t.TempDir(), "x.img"), Type: "ext4", Bytes: 200 << 20, Name: "debian12-with-a-long-name", Kernel: "6.1.0"}
	needs(t, append(asRoot(), missing(fileSystems["ext4"].tool, Tool{"debugfs", "e2fsprogs"}, Tool{"dumpe2fs", "e2fsprogs"})...)...)
	i.Dir = system(t)
	if err := i.Write(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	tool := func(name string, args ...string) string {
		out, err := exec.Command(look(name), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	if out := tool("debugfs", "-R", "stat /usr/bin/su", i.File); !strings.Contains(out, "Mode:  04755") || !strings.Contains(out, "Links: 2") {
		t.Errorf("%s", out)
	}
	out := tool("dumpe2fs", i.File)
	for _, want := range []string{"Filesystem volume name:   debian12-with-a-\n", "Filesystem UUID:          " + uuid(i.Name), "Reserved block count:     0\n", "Block size:               4096\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out[:1500])
		}
	}
	if strings.Contains(out, "ITABLE_UNINIT") || strings.Count(out, "ITABLE_ZEROED") == 0 {
		t.Error("tables of inodes are left to the kernel")
	}
}

func TestTheProgramsGetWhatTheImageNeeds(t *testing.T) {
	id := uuid("x")
	if len(id) != 36 || id[14] != '8' || !strings.Contains("89ab", id[19:20]) || id == uuid("y") {
		t.Errorf("UUID %s", id)
	}
	i := Image{Dir: "/r", File: "/f", Type: "btrfs", Name: "x", Bytes: 1 << 30}
	if got := strings.Join(i.arguments(false), " "); got != "--quiet --label x --uuid "+id+" --rootdir /r /f" {
		t.Error(got)
	}
	i.Type = "ext4"
	if got := i.arguments(true); !slices.Contains(got, "^orphan_file") || got[len(got)-1] != "/f" {
		t.Error(got)
	}
	for v, want := range map[string]bool{"5.10.0-9-amd64": true, "5.15.0": false, "4.19": true, "6.1.0": false, "": false, "next": false} {
		if before(v, 5, 15) != want {
			t.Errorf("%q", v)
		}
	}
	i.Type, i.Bytes = "ntfs", 5
	if got := i.Problems(); len(got) != 1 || !strings.Contains(got[0], "ext4 or btrfs") {
		t.Error(got)
	}
	if text := Fits(900<<20, 20000, 1<<30); text != "" {
		t.Error(text)
	}
	if text := Fits(1000<<20, 20000, 1<<30); !strings.Contains(text, "do not fit into 1024 MiB: take --size 1") {
		t.Error(text)
	}
}

// A folder's links lead to places inside it, whatever they are.
func TestAFolderIsLookedAtFromItsInside(t *testing.T) {
	dir := t.TempDir()
	put1(t, dir, "lib/systemd/systemd", "", 0o755)
	put1(t, dir, "etc/real", "root:$y$j9T$x:1::::::\nguest::1::::::\nmail:*:1::::::\nbob:!x:1::::::\n", 0o600)
	put1(t, dir, "etc/fstab", "# nothing\nUUID=1 / ext4 defaults 0 1\n/dev/sda2 /home ext4 defaults 0 2\nLABEL=x /x ext4 nofail 0 0\nserver:/y /y nfs rw 0 0\n", 0o644)
	put1(t, dir, "etc/machine-id", "0123\n", 0o444)
	put1(t, dir, "etc/hostname", "golden\n", 0o644)
	for name, target := range map[string]string{"sbin": "/usr/sbin", "usr/sbin/init": "/lib/systemd/systemd", "etc/shadow": "../../../../etc/real", "loop": "loop"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	f, problems := Inspect(dir)
	if len(problems) != 0 || !slices.Equal(f.Accounts, []string{"root", "guest"}) || f.Keys || len(f.Notes) != 3 || !strings.Contains(f.Notes[0], "/dev/sda2 at /home") {
		t.Errorf("%+v %v", f, problems)
	}
	if got := within(dir, "/loop/x"); !strings.HasPrefix(got, dir) {
		t.Errorf("a circle of links leads to %s", got)
	}
	if _, problems = Inspect(t.TempDir()); len(problems) != 1 || !strings.Contains(problems[0], "/sbin/init") {
		t.Errorf("%v", problems)
	}
}

// What is mounted in the scratch folder could be this machine's /dev: it is not removed.
func TestAMountedFolderIsNotRemoved(t *testing.T) {
	needs(t, asRoot()...)
	dir, remove, err := Scratch(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "root/dev")
	put1(t, dir, "root/dev/null", "", 0o600)
	if err := unix.Mount("none", inside, "tmpfs", 0, ""); err != nil {
		t.Skip("mount: ", err)
	}
	put1(t, inside, "precious", "", 0o600)
	if err := remove(); err == nil || !strings.Contains(err.Error(), inside+" is still mounted") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(inside, "precious")); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(inside, 0); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}
