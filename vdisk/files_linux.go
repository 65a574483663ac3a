package vdisk

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockFile takes the lock of an open file without waiting, and reports whether it got it. The lock goes with
// the file's last descriptor, so it tells a living writer from a dead one.
func lockFile(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// linked reports whether an open file still has a name.
func linked(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink > 0
}

// renameNoReplace renames and fails with fs.ErrExist when the new name is taken. Some file systems (NFS among
// them) do not know such a rename; a second link to the file does the same there.
func renameNoReplace(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.ENOTSUP) {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// freeSpace is what an ordinary user may still write to the file system of dir, in bytes.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// mark is what shows that a path leads to another file than before, or to a changed one.
type mark struct {
	device, inode uint64
	size          int64
	mtime, ctime  unix.Timespec
}

// markOf looks at a regular file; errNoFile means that it is something else.
func markOf(path string) (mark, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return mark{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return mark{}, errNoFile
	}
	return mark{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// uncache asks that the next read of a part of a file goes to what the file lies on.
func uncache(b backing, off, length int64) {
	f, ok := b.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := f.SyscallConn(); err == nil {
		// Both errors are left: it is a wish, some file systems do not know it, and the read that follows tells what matters.
		_ = raw.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), off, length, unix.FADV_DONTNEED) })
	}
}
