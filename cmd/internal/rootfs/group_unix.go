//go:build unix

package rootfs

import (
	"io/fs"
	"os/exec"
	"syscall"
)

// ownGroup gives a program a process group of its own, which it leads.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// interrupt does to a program and all that it runs what Ctrl-C does.
func interrupt(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }

// killGroup ends what is left of a program's group; often that is nobody.
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// inode says which file it is, whether it has several names, and how many bytes it takes on disk. ok is false where the
// system does not say.
func inode(fi fs.FileInfo) (id [2]uint64, several bool, bytes int64, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return id, false, 0, false
	}
	return [2]uint64{uint64(st.Dev), uint64(st.Ino)}, st.Nlink > 1, int64(st.Blocks) * 512, true
}
