package netboot

import (
	"strings"

	"golang.org/x/sys/unix"
)

// flagOf are the mount options that are flags of mount(2); all others are the file system's.
var flagOf = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "sync": unix.MS_SYNCHRONOUS,
	"dirsync": unix.MS_DIRSYNC, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
	"strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME, "silent": unix.MS_SILENT,
}

// timesOfReads are the options that say whether a file keeps the time when it was read last.
const timesOfReads = unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

// mountFlags divides rootflags= into what mount(2) takes as flags and what the file system takes. Files keep no time of their last
// read unless an option says so: each first read of a file would be a write into a cache that is thrown away, and where that is
// full, readers would wait with the writers.
func mountFlags(options string) (flags uintptr, data string) {
	var rest []string
	for o := range strings.SplitSeq(options, ",") {
		f, ok := flagOf[o]
		switch {
		case ok:
			flags |= f
		case o == "rw":
			flags &^= unix.MS_RDONLY
		case o != "" && o != "defaults":
			rest = append(rest, o)
		}
	}
	if flags&timesOfReads == 0 {
		flags |= unix.MS_NOATIME
	}
	return flags, strings.Join(rest, ",")
}
