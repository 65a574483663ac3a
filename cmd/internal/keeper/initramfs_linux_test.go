package keeper

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Nothing is deleted but files in memory: neither what is on a disk, nor what is mounted inside.
func TestOnlyMemoryIsEmptied(t *testing.T) {
	disk := t.TempDir()
	keep := filepath.Join(disk, "keep")
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	emptied := func(dir string) {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		empty(fd)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(disk, &fs); err != nil {
		t.Fatal(err)
	}
	if int64(fs.Type) != tmpfsMagic {
		emptied(disk)
		if _, err := os.Stat(keep); err != nil {
			t.Fatal("a file on a disk was deleted")
		}
	}
	memory := t.TempDir()
	if err := unix.Mount("test", memory, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounting is for root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(memory, unix.MNT_DETACH) })
	mounted := filepath.Join(memory, "a", "mounted")
	if err := os.MkdirAll(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(memory, "a", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(disk, filepath.Join(memory, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("other", mounted, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(mounted, unix.MNT_DETACH) })
	other := filepath.Join(mounted, "keep")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	emptied(memory)
	for _, name := range []string{keep, other} {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("%s was deleted", name)
		}
	}
	left, err := os.ReadDir(memory)
	if err != nil || len(left) != 1 || left[0].Name() != "a" {
		t.Errorf("left: %v, %v", left, err)
	}
	if left, err := os.ReadDir(filepath.Join(memory, "a")); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// The keeper frees the memory of the initramfs when the system runs, and not before.
func TestTheInitramfsIsFreedWhenTheSystemRuns(t *testing.T) {
	memory := t.TempDir()
	if err := unix.Mount("test", memory, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounting is for root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(memory, unix.MNT_DETACH) })
	program := filepath.Join(memory, "init")
	if err := os.WriteFile(program, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	deleted := os.NewFile(uintptr(fd), "inotify")
	defer deleted.Close()
	if _, err := unix.InotifyAddWatch(fd, memory, unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(memory)
	if err != nil {
		t.Fatal(err)
	}
	k := start(t, dir)
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Stage{InitRuns, RootMounted} {
		if err := k.Tell(s, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for { // the worker is told of both, and tells all that it has seen
		e, err := k.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == Ready {
			break
		}
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("the system does not run yet: %v", err)
	}
	told := time.Now()
	if err := k.Tell(SystemRuns, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := deleted.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := deleted.Read(make([]byte, 4096)); err != nil {
		t.Errorf("nothing is deleted: %v", err)
	}
	if after := time.Since(told); after < emptyAfter {
		t.Errorf("deleted %v after the begin of the system", after)
	}
}
