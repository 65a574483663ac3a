package keeper

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newMemory makes memory for what a worker writes. Between the death of one and the start of the next nobody has it locked; where the
// kernel can (since 6.4), it is of a kind that is never swapped all the same: the disk with the swap may be the very one that waits
// for this memory.
func newMemory(name string) (*os.File, error) {
	f, err := newUnswapped(name)
	if err != nil {
		return newMemfd(name)
	}
	return f, nil
}

// newUnswapped makes a file in a file system of its own, which nobody sees and which ends with the file.
func newUnswapped(name string) (*os.File, error) {
	fail := func(err error) (*os.File, error) { return nil, fmt.Errorf("make memory that is not swapped: %w", err) }
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fs)
	err = errors.Join(unix.FsconfigSetFlag(fs, "noswap"), unix.FsconfigSetString(fs, "size", "0")) // 0: as much as there is
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return fail(err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat(root, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fail(err)
	}
	return above(fd, name)
}
