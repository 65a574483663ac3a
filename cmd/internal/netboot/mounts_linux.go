package netboot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// early are the file systems that PID 1 mounts first, and that move into the root.
var early = []struct {
	path, kind, options string
	flags               uintptr
}{
	{"/proc", "proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"/sys", "sysfs", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"/dev", "devtmpfs", "mode=0755", unix.MS_NOSUID},
	{"/run", "tmpfs", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
}

// mountEarly mounts them. What is mounted already stays.
func mountEarly() error {
	var errs []error
	for _, m := range early {
		_ = os.Mkdir(m.path, 0o755) // it is there, or the mount says why not
		if err := unix.Mount(m.kind, m.path, m.kind, m.flags, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.path, err))
		}
	}
	return errors.Join(errs...)
}

// newRoot is where the root is mounted before it becomes /.
const newRoot = "/spate/root"

// Places of an overlay: the vDisk below, memory above.
const (
	overlayLower  = "/spate/lower"
	overlayMemory = "/spate/memory"
)

// mountRoot mounts the root file system.
func mountRoot(device, kind, options string, readOnly bool) error {
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	return mountDevice(device, newRoot, kind, options, readOnly)
}

func mountDevice(device, at, kind, options string, readOnly bool) error {
	flags, data := mountFlags(options)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(device, at, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s as %s%s: %w%s", device, kind, with(options), err, mountHint(err, kind))
	}
	return nil
}

func with(options string) string {
	if options == "" {
		return ""
	}
	return " with " + options
}

// mountHint says what usually helps.
func mountHint(err error, kind string) string {
	switch {
	case errors.Is(err, unix.ENODEV):
		return ": the kernel does not know " + kind + "; build the boot image with this module"
	case errors.Is(err, unix.EINVAL):
		return ": the file system is damaged, or an option of rootflags= is wrong"
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return ": the disk is read-only; use ro, or give it a write cache"
	}
	return ""
}

// mountOverlay mounts the vDisk read-only, and over it a file system in memory of at most so many bytes, or percent.
func mountOverlay(device, kind, options, size string) error {
	for _, dir := range []string{newRoot, overlayLower, overlayMemory} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := mountDevice(device, overlayLower, kind, options, true); err != nil {
		return err
	}
	if err := unix.Mount("spate-overlay", overlayMemory, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		return fmt.Errorf("mount memory for the overlay: %w", err)
	}
	upper, work := filepath.Join(overlayMemory, "upper"), filepath.Join(overlayMemory, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	data := "lowerdir=" + overlayLower + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("spate-overlay", newRoot, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount overlay: %w%s", err, mountHint(err, "overlay"))
	}
	return nil
}

// unmountRoot undoes mountRoot and mountOverlay before they are tried again.
func unmountRoot() {
	for _, dir := range []string{newRoot, overlayMemory, overlayLower} {
		for unix.Unmount(dir, unix.MNT_DETACH) == nil { // until nothing is mounted there
		}
	}
}

// makePlaces makes sure that the early mounts have their places in a root. One that lacks a folder gets it, if it can be written.
// It is done before anything is moved, since what has been moved into a root is lost with it.
func makePlaces(root string) error {
	for _, m := range early {
		err := os.Mkdir(root+m.path, 0o755)
		if errors.Is(err, fs.ErrExist) {
			if st, bad := os.Stat(root + m.path); bad == nil && st.IsDir() {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("the root file system has no folder %s: %w", m.path, err)
		}
	}
	return nil
}

// moveMounts moves the early mounts into the root.
func moveMounts() error {
	for _, m := range early {
		if err := unix.Mount(m.path, newRoot+m.path, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s into the root file system: %w", m.path, err)
		}
	}
	return nil
}
