package lab

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// shutdownRequest is EXT4_IOC_SHUTDOWN, which XFS has too (include/uapi/linux/ext4.h).
	shutdownRequest = 0x8004587d
	// shutNoFlush forgets what was not written.
	shutNoFlush = 2
)

// ShutFileSystem makes the ext4 or XFS file system that is mounted on dir fail like one whose disk is gone: everything on it,
// open files too, gives EIO until it is mounted again.
func ShutFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	how := uint32(shutNoFlush)
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, d.Fd(), shutdownRequest, uintptr(unsafe.Pointer(&how))); no != 0 {
		return fmt.Errorf("shut down the file system of %s: %w", dir, no)
	}
	return nil
}
