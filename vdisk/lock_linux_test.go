package vdisk

import (
	"os"

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
