package vmtest

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed system
var systemFiles embed.FS

const (
	// systemRecipe is raised when what PrepareSystem makes changes otherwise than by what the cache's name follows from.
	systemRecipe = "1"

	systemIncluded = "systemd,systemd-sysv,udev,dbus,kmod,iproute2,nftables,e2fsprogs,util-linux,diffutils"
	systemSize     = 1 << 30
	systemID       = "5ba7e05ba7e05ba7e05ba7e05ba7e05b\n"
)

// peerModules are what the initramfs of the peer takes: a card, the disk, a root that can be written.
var peerModules = []string{"virtio_pci", "virtio_net", "nbd", "overlay"}

// ownDisk drives a disk of the machine itself.
const ownDisk = "virtio_blk"

// System is a Debian with systemd that boots from the network, in build/cache. Its files are shared: nobody may write
// to them. /spate/init is its first program, for init= on the kernel's command line: it prints "MARK init" and goes on as
// /sbin/init. The system prints "MARK multi-user" and "MARK settled state=running failed=[]"; spate.test=off makes
// it power off then, spate.test=agent makes it run what comes in on its second serial port. Root has no password.
type System struct {
	Tree    string // the root as a folder, kernel and modules in it
	Root    string // the same as an image of an ext4 file system; 1 GiB, sparse
	Kernel  string
	Version string // of the kernel, as in /lib/modules/VERSION
	// Peer is an initramfs with busybox and nbd-client: the root read-only from nbd=ADDRESS:PORT, export "root", and
	// writes in memory.
	Peer string
}

// PrepareSystem gives the files of a system, and builds them if this recipe was not built yet, which takes about a
// minute and Debian's archive.
func PrepareSystem(ctx context.Context) (System, error) {
	dir, err := cached(ctx, "system", systemHash(), buildSystem)
	if err != nil {
		return System{}, err
	}
	s := System{Tree: filepath.Join(dir, "root"), Root: filepath.Join(dir, "root.img"), Kernel: filepath.Join(dir, "vmlinuz"), Peer: filepath.Join(dir, "peer.gz")}
	s.Version, err = kernelVersion(s.Tree)
	return s, err
}

// kernelVersion finds the only folder of modules of a root.
func kernelVersion(root string) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, "lib", "modules", "*"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s has modules of %d kernels", root, len(found))
	}
	return filepath.Base(found[0]), nil
}

func systemHash() string {
	h := sha256.New()
	fmt.Fprintln(h, systemRecipe, suite, systemIncluded, kernel, systemSize, systemID, peerModules, ownDisk)
	err := fs.WalkDir(systemFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := systemFiles.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(content), content)
		return err
	})
	if err != nil {
		panic(err) // embedded files can be read
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// buildSystem makes the files of a System in dir.
func buildSystem(ctx context.Context, dir string) error {
	root, scratch := filepath.Join(dir, "root"), filepath.Join(dir, "kernel")
	if _, err := run(ctx, dir, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+systemIncluded,
		"--customize-hook=chroot \"$1\" passwd -d root", suite, root); err != nil {
		return err
	}
	version, err := fetchKernel(ctx, scratch)
	if err != nil {
		return err
	}
	if _, err := run(ctx, dir, "cp", filepath.Join(scratch, "boot", "vmlinuz-"+version), "vmlinuz"); err != nil {
		return err
	}
	for _, part := range []string{"boot/.", "lib/modules"} {
		if _, err := run(ctx, dir, "cp", "-a", filepath.Join(scratch)+"/"+part, filepath.Join(root, filepath.Dir(part))); err != nil {
			return err
		}
	}
	if _, err := run(ctx, dir, "depmod", "-b", root, version); err != nil {
		return err
	}
	if err := furnish(root); err != nil {
		return err
	}
	if err := buildPeer(ctx, dir, root, version); err != nil {
		return fmt.Errorf("initramfs of the peer: %w", err)
	}
	if _, err := run(ctx, dir, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "spate", "-d", root,
		"-E", "lazy_itable_init=0,lazy_journal_init=0", "root.img", fmt.Sprintf("%dM", systemSize>>20)); err != nil {
		return err
	}
	return os.RemoveAll(scratch)
}

// furnish puts our programs and units into a root.
func furnish(root string) error {
	units := "etc/systemd/system/"
	for _, f := range []struct {
		from, to string
		mode     fs.FileMode
	}{
		{"init", "spate/init", 0o755}, {"multi-user", "spate/multi-user", 0o755}, {"agent", "spate/agent", 0o755},
		{"spate-mark.service", units + "spate-mark.service", 0o644}, {"spate-agent.service", units + "spate-agent.service", 0o644},
	} {
		content, err := systemFiles.ReadFile("system/" + f.from)
		if err != nil {
			return err
		}
		if err := writeTo(filepath.Join(root, f.to), content, f.mode); err != nil {
			return err
		}
	}
	for unit, target := range map[string]string{"spate-mark.service": "multi-user.target", "spate-agent.service": "sysinit.target"} {
		wants := filepath.Join(root, units, target+".wants")
		if err := os.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		if err := os.Symlink("/"+units+unit, filepath.Join(wants, unit)); err != nil {
			return err
		}
	}
	// With an identity a start is not the first one, in which systemd would set everything up anew.
	return errors.Join(
		writeTo(filepath.Join(root, "etc/machine-id"), []byte(systemID), 0o444),
		writeTo(filepath.Join(root, "etc/hostname"), []byte("netbooted\n"), 0o644))
}

func writeTo(path string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, content, mode)
}

// buildPeer makes peer.gz.
func buildPeer(ctx context.Context, dir, root, version string) error {
	client := filepath.Join(dir, "client")
	if _, err := run(ctx, dir, "mmdebstrap", "--quiet", "--variant=extract", "--include=nbd-client", suite, client); err != nil {
		return err
	}
	var a archive
	for _, folder := range []string{"bin", "sbin", "dev", "proc", "sys", "new", "base", "writes", "lib", "lib64"} {
		a.add(folder, modeFolder|0o755, nil)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	a.add("bin/busybox", modeFile|0o755, busybox)
	for from, to := range map[string]string{"peer": "init", "lease": "lease"} {
		content, err := systemFiles.ReadFile("system/" + from)
		if err != nil {
			return err
		}
		a.add(to, modeFile|0o755, content)
	}
	if err := a.addModules(ctx, root, version, peerModules, ownDisk); err != nil {
		return err
	}
	if err := a.addProgram(client, "sbin/nbd-client"); err != nil {
		return err
	}
	packed, err := a.finish()
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "peer.gz"), packed, 0o644), os.RemoveAll(client))
}

// loader is the program that loads libraries, as every program of Debian for this processor names it.
const loader = "lib64/ld-linux-x86-64.so.2"

// libraries are the folders of a root in which libraries lie.
var libraries = []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64"}

// addProgram adds a program below root, and the libraries that it takes into /lib.
func (a *archive) addProgram(root, name string) error {
	path := filepath.Join(root, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		path = filepath.Join(root, "usr", name)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	a.add(name, modeFile|0o755, content)
	have := map[string]bool{filepath.Base(loader): true}
	for todo := []string{path}; len(todo) > 0; todo = todo[1:] {
		f, err := elf.Open(todo[0])
		if err != nil {
			return err
		}
		needed, err := f.ImportedLibraries()
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		for _, lib := range needed {
			if have[lib] {
				continue
			}
			have[lib] = true
			at, content, err := library(root, lib)
			if err != nil {
				return err
			}
			a.add("lib/"+lib, modeFile|0o755, content)
			todo = append(todo, at)
		}
	}
	_, content, err = library(root, filepath.Base(loader))
	a.add(loader, modeFile|0o755, content)
	return err
}

// library finds a library below a root, which may lie behind links itself.
func library(root, name string) (path string, content []byte, err error) {
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "", nil, err
	}
	for _, dir := range libraries {
		path = filepath.Join(root, dir, name)
		file, err := filepath.EvalSymlinks(path)
		if err != nil || !strings.HasPrefix(file, root) {
			continue // not here, or a link that leads out of the root
		}
		content, err := os.ReadFile(file)
		return file, content, err
	}
	return "", nil, fmt.Errorf("there is no library %s below %s", name, root)
}
