//go:build linux

package blockdev

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Nobody but the owner may connect, whatever the umask, and from the first moment.
func TestTheSocketIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(folder(t), "s")
	defer syscall.Umask(syscall.Umask(0))
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != socketMode || info.Mode()&fs.ModeSocket == 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// The file of a process that was killed is in nobody's way.
func TestASocketFileThatNobodyListensOnIsReplaced(t *testing.T) {
	path := filepath.Join(folder(t), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("Close leaves the socket file")
	}
}

// What is in use or is no socket is left alone, and the error says what to do.
func TestWhatIsInUseIsLeftAlone(t *testing.T) {
	dir := folder(t)
	busy, file := filepath.Join(dir, "busy"), filepath.Join(dir, "file")
	l, err := Listen(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		busy:                             fmt.Sprintf("pid %d", os.Getpid()),
		file:                             "no socket",
		filepath.Join(dir, "no", "s"):    "there is no folder",
		"/" + strings.Repeat("long", 40): "shorter",
	} {
		if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(file); string(b) != "precious" {
		t.Errorf("the file is gone: %v", err)
	}
	if c, err := net.Dial("unix", busy); err != nil {
		t.Errorf("the other one's socket is broken: %v", err)
	} else {
		c.Close()
	}
}

// A listener that is closed late does not remove the socket of its successor.
func TestCloseLeavesASuccessorsSocket(t *testing.T) {
	path := filepath.Join(folder(t), "s")
	old, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	} else {
		c.Close()
	}
}
