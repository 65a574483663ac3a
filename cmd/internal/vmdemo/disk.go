package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spate-project/spate/cmd/internal/vmdemo/clock"
	"github.com/spate-project/spate/cmd/internal/vmlab"
	"github.com/spate-project/spate/cmd/internal/vmtest"
	"github.com/spate-project/spate/vdisk"
)

const (
	// diskRecipe is raised when what makeDisk makes changes otherwise than by what the folder's name follows from.
	diskRecipe = "1"
	diskSize   = "2G"
	// kernelLine: the kernel tells of trouble only, and the first program of the root says that it runs.
	kernelLine = "loglevel=4 panic=-1 init=/spate/first"
	blocksFile = "spate/blocks"
)

// The files that the machine has beyond those of the system.
var (
	//go:embed machine/first
	first []byte
	//go:embed machine/clock.service
	clockService []byte
	//go:embed machine/issue
	issue []byte
)

// makeDisk makes the vDisk as an administrator would: by `spate vdisk build` from a folder with a system in it. One that was
// made before, with the same programs, is used again.
func makeDisk(ctx context.Context, o options, system vmtest.System) (file string, err error) {
	key, err := diskKey(o, system)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(o.dir, "disk-"+key)
	file = filepath.Join(dir, vdisk.FileName(vmlab.VDisk, 0))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	old, err := filepath.Glob(filepath.Join(o.dir, "disk-*"))
	if err != nil {
		return "", err
	}
	for _, d := range old { // of other programs, or unfinished
		if err := os.RemoveAll(d); err != nil {
			return "", err
		}
	}
	unfinished := filepath.Join(o.dir, "disk-unfinished")
	if err := os.MkdirAll(unfinished, 0o755); err != nil {
		return "", err
	}
	if err := build(ctx, o, system, unfinished); err != nil {
		return "", errors.Join(fmt.Errorf("make the vDisk: %w", err), os.RemoveAll(unfinished))
	}
	return file, os.Rename(unfinished, dir)
}

// diskKey follows from all that goes into the vDisk.
func diskKey(o options, system vmtest.System) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, diskRecipe, diskSize, kernelLine, filepath.Dir(system.Tree))
	for _, program := range []string{self, filepath.Join(o.bin, "spate-target")} {
		content, err := os.ReadFile(program)
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(content)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// build makes the vDisk in dir.
func build(ctx context.Context, o options, system vmtest.System, dir string) error {
	root := filepath.Join(dir, "root")
	// Links, because the folder is only read; what furnish changes it makes anew.
	if err := tool(ctx, nil, "cp", "--archive", "--link", system.Tree, root); err != nil {
		return err
	}
	if err := furnish(root); err != nil {
		return err
	}
	fmt.Println("making the vDisk, once:")
	err := tool(ctx, os.Stdout, filepath.Join(o.bin, "spate"), "vdisk", "build", "--from", root, "--size", diskSize, "--name", vmlab.VDisk,
		"--store", dir, "--scratch", dir, "--command-line", kernelLine)
	return errors.Join(err, os.RemoveAll(root))
}

// tool runs a program; what it says while it works goes to progress.
func tool(ctx context.Context, progress io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // it tidies up
	cmd.Stderr = progress
	if progress == nil {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// furnish puts what makes the machine of the demonstration into a root folder.
func furnish(root string) error {
	const units = "etc/systemd/system/"
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path    string
		content []byte
		mode    os.FileMode
	}{
		{"spate/first", first, 0o755}, {"spate/vmdemo", program, 0o755}, {units + "clock.service", clockService, 0o644},
		{"etc/issue", issue, 0o644}, {"etc/motd", nil, 0o644},
	} {
		if err := replace(filepath.Join(root, f.path), f.content, f.mode); err != nil {
			return err
		}
	}
	// The marks of the tests' system are for tests.
	err = os.RemoveAll(filepath.Join(root, units, "multi-user.target.wants", "spate-mark.service"))
	wants := filepath.Join(root, units, "sysinit.target.wants")
	err = errors.Join(err, os.MkdirAll(wants, 0o755), os.Symlink("/"+units+"clock.service", filepath.Join(wants, "clock.service")))
	return errors.Join(err, writeBlocks(filepath.Join(root, blocksFile)))
}

// replace makes a file anew: the one that is there may be a link to somebody else's.
func replace(path string, content []byte, mode os.FileMode) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, content, mode)
}

func writeBlocks(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	block := make([]byte, clock.BlockSize)
	for i := range clock.Blocks {
		clock.Fill(block, i)
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	return w.Flush()
}
