package vdisk

import (
	"context"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ofdLock locks one byte of a file the way QEMU does.
func ofdLock(f *os.File, kind int16, start int64) error {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: start, Len: boolLen(kind)})
}

// boolLen is 0, the whole file, for an unlock.
func boolLen(kind int16) int64 {
	if kind == unix.F_UNLCK {
		return 0
	}
	return 1
}

func TestAnImageThatIsLockedForWritingIsWarnedOf(t *testing.T) {
	path := imageFile(t, "disk.img", image(78, 4096))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, lock := range []struct {
		kind  int16
		start int64
	}{{unix.F_RDLCK, qemuWriteByte}, {unix.F_WRLCK, 0}} {
		if err := ofdLock(f, lock.kind, lock.start); err != nil {
			t.Skipf("this file system has no locks: %v", err)
		}
		var said []string
		o := importOptions(path, t.TempDir())
		o.Warn = func(s string) { said = append(said, s) }
		if _, err := Import(context.Background(), o); err != nil || len(said) != 1 || !strings.Contains(said[0], "mixture") {
			t.Errorf("said %q, error %v", said, err)
		}
		if err := ofdLock(f, unix.F_UNLCK, 0); err != nil {
			t.Fatal(err)
		}
	}
}
