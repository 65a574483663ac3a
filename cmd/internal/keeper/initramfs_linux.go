package keeper

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// emptyAfter is how long after the begin of the system's init the memory of the initramfs is freed: until then the machine has more
// urgent things to do. An emulated one took 20 ms for it, before its init.
const emptyAfter = 2 * time.Second

// forget frees the memory of the initramfs in a while. What is run from it has been opened.
func forget(initramfs *os.File) {
	time.AfterFunc(emptyAfter, func() {
		empty(int(initramfs.Fd()))
		initramfs.Close()
	})
}

// empty deletes what is in a folder of an initramfs, on its own file system only. What cannot be deleted costs memory, no more.
func empty(dir int) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(dir, &fs) != nil || int64(fs.Type) != ramfsMagic && int64(fs.Type) != tmpfsMagic || unix.Fstat(dir, &st) != nil {
		return
	}
	emptyBelow(dir, uint64(st.Dev))
}

func emptyBelow(dir int, device uint64) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "initramfs")
	defer f.Close()
	names, _ := f.Readdirnames(-1) // what came is deleted
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || uint64(st.Dev) != device {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			_ = unix.Unlinkat(dir, name, 0) // costs memory if it stays
			continue
		}
		// A folder in which something is mounted has the number of that file system, and was left alone above.
		if sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			emptyBelow(sub, device)
			unix.Close(sub)
		}
		_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) // costs memory if it stays, as one does in which something is mounted
	}
}
