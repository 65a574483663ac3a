package keeper

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockProgram locks what is mapped of this program in memory, all of it and now. Memory files go to swap as other memory does, and
// swap may lie on the very disk that these processes serve: a function that is called for the first time when that disk waits
// would wait for itself. It takes up nothing that the program does not anyhow. A program on a ramfs, as the initramfs is where the
// command line names a root, is there for good: mapping all of it at once would only cost an emulated machine 20 ms.
func lockProgram() error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/proc/self/exe", &fs); err == nil && int64(fs.Type) == ramfsMagic {
		return nil
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer f.Close()
	var bad []error
	for _, r := range regions(f, exe) {
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK, r.start, r.end-r.start, 0); errno != 0 {
			bad = append(bad, errno)
		}
	}
	return errors.Join(bad...)
}

// region is a part of the memory of a process.
type region struct{ start, end uintptr }

// regions are the readable regions of a file in a table as /proc/PID/maps is one.
func regions(maps io.Reader, file string) (out []region) {
	for s := bufio.NewScanner(maps); s.Scan(); {
		// 00400000-00452000 r-xp 00000000 00:01 1034   /memfd:spate-target (deleted)
		span, rest, _ := strings.Cut(s.Text(), " ")
		from, to, _ := strings.Cut(span, "-")
		start, err1 := strconv.ParseUint(from, 16, strconv.IntSize)
		end, err2 := strconv.ParseUint(to, 16, strconv.IntSize)
		if err1 == nil && err2 == nil && start < end && strings.HasPrefix(rest, "r") && strings.HasSuffix(rest, " "+file) {
			out = append(out, region{uintptr(start), uintptr(end)})
		}
	}
	return out
}
