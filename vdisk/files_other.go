//go:build !linux

package vdisk

import (
	"errors"
	"os"
	"time"
)

// Stores are kept on Linux. Elsewhere the package reads them and imports into them with what every system has:
// left-overs of dead writers are not told from files of living ones and stay, holes are read as zeros, and
// nobody is warned of an image in use.

// lockFile says that there are no locks.
func lockFile(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func linked(*os.File) bool { return true }

// renameNoReplace makes a second name, which fails when it is taken, and removes the first.
func renameNoReplace(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

func freeSpace(string) (int64, error) { return 0, errors.ErrUnsupported }

// mark is what shows that a path leads to another file than before, or to a changed one.
type mark struct {
	size  int64
	mtime time.Time
}

// markOf looks at a regular file; errNoFile means that it is something else.
func markOf(path string) (mark, error) {
	st, err := os.Stat(path)
	if err != nil {
		return mark{}, err
	}
	if !st.Mode().IsRegular() {
		return mark{}, errNoFile
	}
	return mark{st.Size(), st.ModTime()}, nil
}

func uncache(backing, int64, int64) {}

func inUse(*os.File, string) string { return "" }

// nextData takes everything for data.
func nextData(_ *os.File, from, size int64) (start, end int64, err error) { return from, size, nil }

// stamp is what shows that a file was changed.
type stamp = mark

func stampOf(f *os.File) (stamp, error) {
	st, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	return stamp{st.Size(), st.ModTime()}, nil
}

func allocated(f *os.File) int64 {
	st, err := f.Stat()
	if err != nil {
		return 0
	}
	return st.Size()
}

func deviceSector(*os.File) uint32 { return 0 }
