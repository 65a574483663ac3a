package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// UpgradeFile is where a new spate-target is put for a machine that runs. The next worker is run from it, and the file
// removed. Like all of /run/spate it is root's.
const UpgradeFile = "/run/spate/upgrade"

// tooBad is the delay before a new worker at which an upgrade is given up: it has died again and again.
const tooBad = 4 * firstDelay

// upgrade takes a new program, if there is one.
func (k *keeper) upgrade(path string) {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	var next *os.File
	if err == nil {
		next, err = copyBinary(path)
	}
	_ = os.Remove(path)
	if err != nil {
		k.tell(Event{Kind: Problem, At: sinceBoot(), Text: fmt.Sprintf("keeper: the new program %s is not used: %v", path, err)})
		return
	}
	if k.proven == nil {
		k.proven = k.binary
	} else {
		_ = k.binary.Close() // an upgrade that was not proven either
	}
	k.binary = next
	k.tell(Event{Kind: Line, At: sinceBoot(), Text: "keeper: the worker is run from a new program"})
}

// keepUpgrade notes that the program has proven itself.
func (k *keeper) keepUpgrade() {
	if k.proven != nil {
		_ = k.proven.Close()
		k.proven = nil
	}
}

// dropUpgrade goes back to the program that was before.
func (k *keeper) dropUpgrade() {
	if k.proven == nil {
		return
	}
	_ = k.binary.Close()
	k.binary, k.proven = k.proven, nil
	k.tell(Event{Kind: Problem, At: sinceBoot(), Text: "keeper: the new program does not work; going back to the one before"})
}

// worked tells whether the worker that runs, or ran last, has attached the disk.
func (k *keeper) worked() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serves
}

// judge ends a new program that has had its time and has not attached the disk. It may only wait for servers that are down; the one
// before it waits as well as it does.
func (k *keeper) judge(end func() error) {
	if k.worked() {
		return
	}
	k.tell(Event{Kind: Problem, At: sinceBoot(), Text: fmt.Sprintf("keeper: the new program has not taken the disk up for %d s", int(longLife.Seconds()))})
	_ = end() // it has ended by itself otherwise
}

// Upgrade has the worker of this machine replaced by one that is run from another program. The disk pauses for some seconds.
func Upgrade(program string) error {
	pid, err := findWorker("/proc")
	if err != nil {
		return err
	}
	if !hasKeeper("/proc", pid) {
		return errors.New("the keeper of this machine's disk has died: nobody would start the new program, and the disk would be lost with the old one")
	}
	part := UpgradeFile + ".part"
	if err := copyFile(part, program); err != nil {
		return fmt.Errorf("copy the new program: %w", err)
	}
	if err := os.Rename(part, UpgradeFile); err != nil {
		return err
	}
	return unix.Kill(pid, unix.SIGKILL) // it ignores all others, and its death is what it is made for
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// hasKeeper tells whether a worker has a keeper: its parent, or where that has died a child that it has started itself.
func hasKeeper(proc string, worker int) bool {
	if parent := parentOf(proc, strconv.Itoa(worker)); isKeeper(proc, parent) {
		return true
	}
	dirs, _ := filepath.Glob(filepath.Join(proc, "[0-9]*")) // the pattern is right
	return slices.ContainsFunc(dirs, func(dir string) bool {
		pid := filepath.Base(dir)
		return isKeeper(proc, pid) && parentOf(proc, pid) == strconv.Itoa(worker)
	})
}

func isKeeper(proc, pid string) bool {
	line, err := os.ReadFile(filepath.Join(proc, pid, "cmdline"))
	return err == nil && bytes.HasPrefix(line, []byte(keeperName+"\x00"))
}

// parentOf is the number of a process's parent, or nothing.
func parentOf(proc, pid string) string {
	status, err := os.ReadFile(filepath.Join(proc, pid, "status"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(status)) {
		if parent, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strings.TrimSpace(parent)
		}
	}
	return ""
}

// ownerOf is whose a file is.
func ownerOf(path string) (uid uint32, ok bool) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Uid, err == nil
}

// findWorker finds the process that serves this machine's disk.
func findWorker(proc string) (pid int, err error) {
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "cmdline"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		line, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(line, []byte(workerName+"\x00")) {
			continue
		}
		// Anybody may call himself so, but only we run from memory and as root.
		exe, err := os.Readlink(filepath.Join(filepath.Dir(name), "exe"))
		if err != nil || !strings.HasPrefix(exe, "/memfd:"+binaryName) && !strings.HasPrefix(exe, "/init") {
			continue
		}
		if uid, ok := ownerOf(filepath.Dir(name)); !ok || uid != 0 {
			continue
		}
		return strconv.Atoi(filepath.Base(filepath.Dir(name)))
	}
	return 0, errors.New("this machine does not run from a vDisk, or you are not root")
}
