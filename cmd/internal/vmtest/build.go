package vmtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// partBytes is how many bytes of files the guest checks in one round. It is a small part of them, so that many rounds find
// something that no cache holds yet.
const partBytes = 12 << 20

// build makes the files of a machine in dir.
func build(ctx context.Context, dir string) error {
	if err := buildRoot(ctx, dir); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	if err := buildKernel(ctx, dir); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	return nil
}

// buildRoot makes root.img.
func buildRoot(ctx context.Context, dir string) error {
	root := filepath.Join(dir, "root")
	if _, err := run(ctx, dir, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+included, suite, root); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, "spate"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "spate", "init"), guestScript, 0o755); err != nil {
		return err
	}
	if err := writeChecksums(root); err != nil {
		return err
	}
	// Everything is initialised here and not by the kernel after the first mount, which would fill the write cache.
	if _, err := run(ctx, dir, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "spate", "-d", root,
		"-E", "lazy_itable_init=0,lazy_journal_init=0", "root.img", fmt.Sprintf("%dM", imageSize>>20)); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

// writeChecksums writes spate/part.NNN below root: checksums of the files of /usr, as sha256sum takes them, divided into
// parts of about partBytes of files.
func writeChecksums(root string) error {
	var part bytes.Buffer
	number, size := 0, int64(0)
	flush := func() error {
		if part.Len() == 0 {
			return nil
		}
		name := filepath.Join(root, "spate", fmt.Sprintf("part.%03d", number))
		number, size = number+1, 0
		defer part.Reset()
		return os.WriteFile(name, part.Bytes(), 0o644)
	}
	err := filepath.WalkDir(filepath.Join(root, "usr"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.ContainsAny(path, "\\\n") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&part, "%x  %s\n", h.Sum(nil), name)
		if size += n; size < partBytes {
			return nil
		}
		return flush()
	})
	return errors.Join(err, flush())
}

// buildKernel makes vmlinuz and initrd.gz from Debian's packages.
func buildKernel(ctx context.Context, dir string) error {
	scratch := filepath.Join(dir, "kernel")
	version, err := fetchKernel(ctx, scratch)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(scratch, "boot", "vmlinuz-"+version), filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	if err := buildInitrd(ctx, dir, scratch, version); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return os.RemoveAll(scratch)
}

// fetchKernel unpacks Debian's kernel into the new folder dir, without installing it. Its modules are in lib/modules,
// known to modprobe -d.
func fetchKernel(ctx context.Context, dir string) (version string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	depends, err := run(ctx, dir, "apt-cache", "depends", kernel)
	if err != nil {
		return "", err
	}
	name := ""
	for line := range strings.Lines(depends) {
		if d, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			name = "linux-image-" + d
		}
	}
	if name == "" {
		return "", fmt.Errorf("apt knows no package %s; run apt-get update", kernel)
	}
	if _, err := run(ctx, dir, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return "", err
	}
	if len(debs) != 1 {
		return "", fmt.Errorf("apt-get download left %d packages", len(debs))
	}
	if _, err := run(ctx, dir, "dpkg-deb", "-x", debs[0], dir); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "lib")); errors.Is(err, fs.ErrNotExist) {
		// Newer packages have their modules in /usr/lib, which is the same place on an installed system only.
		if err := os.Symlink("usr/lib", filepath.Join(dir, "lib")); err != nil {
			return "", err
		}
	}
	version = strings.TrimPrefix(name, "linux-image-")
	_, err = run(ctx, dir, "depmod", "-b", dir, version)
	return version, err
}

// unpackers are the programs for compressed modules, which busybox cannot load.
var unpackers = map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}

// module gives the content of a kernel module and the name it has when it is not compressed.
func module(ctx context.Context, path string) (name string, content []byte, err error) {
	unpacker, packed := unpackers[filepath.Ext(path)]
	if !packed {
		content, err = os.ReadFile(path)
		return filepath.Base(path), content, err
	}
	out, err := run(ctx, ".", unpacker, "-dc", path)
	return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), []byte(out), err
}

func buildInitrd(ctx context.Context, dir, root, version string) error {
	var a archive
	for _, folder := range []string{"bin", "dev", "proc", "sys", "new", "lib"} {
		a.add(folder, modeFolder|0o755, nil)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	a.add("bin/busybox", modeFile|0o755, busybox)
	a.add("init", modeFile|0o755, initrdScript)
	if err := a.addModules(ctx, root, version, modules); err != nil {
		return err
	}
	packed, err := a.finish()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "initrd.gz"), packed, 0o644)
}

// addModules adds kernel modules and whatever they depend on to /lib, and the order in which they are loaded as /modules. Those that
// are loaded later, by who needs them, are in /lib only.
func (a *archive) addModules(ctx context.Context, root, version string, names []string, later ...string) error {
	var order []string
	seen := map[string]bool{}
	for i, m := range slices.Concat(names, later) {
		list, err := run(ctx, root, "modprobe", "-d", root, "-S", version, "--show-depends", m)
		if err != nil {
			return err
		}
		for line := range strings.Lines(list) {
			path, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
			path, _, _ = strings.Cut(strings.TrimSpace(path), " ") // options may follow
			if !ok || seen[path] {
				continue // built in, or there
			}
			seen[path] = true
			name, content, err := module(ctx, path)
			if err != nil {
				return err
			}
			a.add("lib/"+name, modeFile|0o644, content)
			if i < len(names) {
				order = append(order, "/lib/"+name)
			}
		}
	}
	a.add("modules", modeFile|0o644, []byte(strings.Join(order, "\n")+"\n"))
	return nil
}
