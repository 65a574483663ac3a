package netboot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/bootline"
)

// candidates are the programs that may become the system's init, in the order in which they are tried; those of the kernel
// when init= is not there or does not work.
func candidates(line bootline.Line) []string {
	all := []string{line.Init, "/sbin/init", "/etc/init", "/bin/init"}
	if line.Shell {
		all = append(all, "/bin/sh")
	}
	var out []string
	for _, c := range all {
		if c != "" && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// checkInit says what is wrong with a program in the mounted root, with symbolic links as the root means them.
func checkInit(root, name string) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	switch {
	case errors.Is(err, unix.ENOENT):
		return errors.New("is not there")
	case err != nil:
		return fmt.Errorf("cannot be opened: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return errors.New("is a folder")
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("is no file")
	case st.Mode&0o111 == 0:
		return errors.New("is not executable")
	}
	return nil
}

// switchRoot makes the mounted root the root of this process and of the kernel's helpers. The memory of the initramfs is freed by the
// keeper, a moment later.
func switchRoot() error {
	if err := moveMounts(); err != nil {
		return err
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root file system to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

// execInit becomes the first of the programs that can be run. It returns only when none can; then every error is named.
func execInit(names, args, environ []string) error {
	var errs []error
	for _, name := range names {
		err := unix.Exec(name, append([]string{name}, args...), environ)
		if errors.Is(err, unix.ENOENT) {
			if _, there := os.Stat(name); there == nil {
				err = errors.New("its interpreter (of its first line, or its dynamic linker) is missing")
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", path.Clean(name), err))
	}
	return errors.Join(errs...)
}
