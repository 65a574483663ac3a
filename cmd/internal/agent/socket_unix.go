//go:build unix

package agent

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// ours tells whether a folder is a real folder that belongs to this user.
func ours(st fs.FileInfo) bool {
	s, ok := st.Sys().(*syscall.Stat_t)
	return st.IsDir() && ok && int(s.Uid) == os.Getuid()
}

// gone tells whether nobody listens at a socket any more.
func gone(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
