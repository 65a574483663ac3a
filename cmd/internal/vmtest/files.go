package vmtest

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

//go:embed guest.sh
var guestScript []byte

//go:embed initrd.sh
var initrdScript []byte

const (
	// recipe is raised when what Prepare makes changes otherwise than by the constants and files that the cache's name
	// follows from anyway.
	recipe = "2"

	suite     = "bookworm"
	included  = "e2fsprogs,util-linux,diffutils"
	kernel    = "linux-image-cloud-amd64"
	imageSize = 1 << 30
)

// modules that a disk on virtio takes, with whatever they depend on. ext4 is part of the cloud kernel.
var modules = []string{"virtio_pci", "virtio_blk"}

// needs are the programs that Prepare and Start run, with the Debian packages they come in.
var needs = []struct{ program, debianPackage string }{
	{"mmdebstrap", "mmdebstrap"}, {"mke2fs", "e2fsprogs"}, {"qemu-system-x86_64", "qemu-system-x86"},
	{"busybox", "busybox-static"}, {"depmod", "kmod"}, {"modprobe", "kmod"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"},
}

// Files are what a machine boots from, in build/cache. They are shared: nobody may write to them.
type Files struct {
	Root   string // image of an ext4 file system, the disk; 1 GiB, sparse
	Kernel string
	Initrd string
}

// Missing says what a machine takes and this computer has not; nil when it has everything.
func Missing() error {
	if missing := MissingPackages(); len(missing) > 0 {
		return fmt.Errorf("virtual machines need the Debian packages %s", strings.Join(missing, " "))
	}
	if os.Getuid() != 0 {
		return errors.New("a root file system is built by mmdebstrap, which needs root")
	}
	return nil
}

// MissingPackages are the Debian packages of programs that this computer has not.
func MissingPackages() (missing []string) {
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil {
			missing = append(missing, n.debianPackage)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// Prepare gives the files of a machine, and builds them if this recipe was not built yet, which takes about half a minute
// and Debian's archive.
func Prepare(ctx context.Context) (Files, error) {
	dir, err := cached(ctx, "vm", recipeHash(), build)
	return Files{filepath.Join(dir, "root.img"), filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd.gz")}, err
}

// cached gives the folder KIND-HASH of the cache. When it is not there build makes its content in an empty folder, and
// those of other recipes of this kind are removed.
func cached(ctx context.Context, kind, hash string, build func(ctx context.Context, dir string) error) (dir string, err error) {
	if err := Missing(); err != nil {
		return "", err
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(cache, kind+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	dir = filepath.Join(cache, kind+"-"+hash)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	old, err := filepath.Glob(filepath.Join(cache, kind+"-*"))
	if err != nil {
		return "", err
	}
	for _, o := range old { // of other recipes, or unfinished
		if err := os.RemoveAll(o); err != nil {
			return "", err
		}
	}
	unfinished := filepath.Join(cache, kind+"-unfinished")
	if err := os.MkdirAll(unfinished, 0o755); err != nil {
		return "", err
	}
	if err := build(ctx, unfinished); err != nil {
		return "", fmt.Errorf("build the machine's files: %w", err)
	}
	return dir, os.Rename(unfinished, dir)
}

func recipeHash() string {
	h := sha256.New()
	fmt.Fprintln(h, recipe, suite, included, kernel, imageSize, partBytes, modules)
	h.Write(guestScript)
	h.Write(initrdScript)
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// cacheFolder is build/cache of the repository that the working directory lies in.
func cacheFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			cache := filepath.Join(dir, "build", "cache")
			return cache, os.MkdirAll(cache, 0o755)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is in no Go module")
		}
		dir = parent
	}
}

// lock waits for the lock of a file, which the kernel gives back at the latest when the process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// run runs a program in dir and gives what it wrote to standard output. What it mounts is mounted for itself only and ends
// with it: mmdebstrap leaves /proc mounted in the new root when it cannot unmount it, and that would be copied into the
// image, or removed with the folder.
func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, complaints.String())
	}
	return string(out), nil
}
