package vdisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// qemuWriteByte is the byte of an image file on which QEMU holds a shared lock while it may write.
const qemuWriteByte = 101

// inUse tells who seems to be writing to an image, as far as locks and loop devices show, or "".
func inUse(f *os.File, path string) string {
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	if st.Mode()&os.ModeDevice != 0 {
		// An exclusive open of a block device fails while it is mounted or part of something.
		if x, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0); err == nil {
			x.Close()
		} else if errors.Is(err, unix.EBUSY) {
			return "is mounted, or part of something that is"
		}
		return ""
	}
	if foreignLock(f, unix.F_WRLCK, qemuWriteByte, 1) {
		return "is open for writing in a virtual machine"
	}
	if foreignLock(f, unix.F_RDLCK, 0, 0) {
		return "is locked for writing by another process"
	}
	return loopUse(path)
}

// foreignLock reports whether a lock of that kind on a range would have to wait for another process.
func foreignLock(f *os.File, kind int16, start, length int64) bool {
	l := unix.Flock_t{Type: kind, Whence: 0, Start: start, Len: length}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l) == nil && l.Type != unix.F_UNLCK
}

// loopUse tells of a writable loop device on the file.
func loopUse(path string) string {
	abs, err := filepath.EvalSymlinks(path)
	if err == nil {
		abs, err = filepath.Abs(abs)
	}
	if err != nil {
		return ""
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		b, err := os.ReadFile(l)
		if err != nil || strings.TrimSuffix(string(b), "\n") != abs {
			continue
		}
		block := filepath.Dir(filepath.Dir(l))
		if ro, err := os.ReadFile(filepath.Join(block, "ro")); err == nil && strings.TrimSpace(string(ro)) == "1" {
			continue
		}
		return fmt.Sprintf("is attached as /dev/%s", filepath.Base(block))
	}
	return ""
}

// nextData finds the next stretch of f at or after from that is not a hole: [start, end), empty at the end of
// the file. Where the file system does not know holes, everything is data.
func nextData(f *os.File, from, size int64) (start, end int64, err error) {
	start, err = f.Seek(from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP):
		return from, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	return min(start, size), min(end, size), nil
}

// stamp is what shows that a file was changed.
type stamp struct {
	size         int64
	mtime, ctime unix.Timespec
}

func stampOf(f *os.File) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return stamp{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return stamp{st.Size, st.Mtim, st.Ctim}, nil
}

// allocated is how many bytes of a file take space.
func allocated(f *os.File) int64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// deviceSector is the logical sector size of a block device in bytes, 0 where it is not known.
func deviceSector(f *os.File) uint32 {
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil || n < 0 {
		return 0
	}
	return uint32(n)
}
