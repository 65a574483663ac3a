package rootfs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Scratch makes a folder for the work, below dir; with dir empty below TMPDIR or /var/tmp, because a root file system may be
// too large for a /tmp in memory. remove takes it away with all that is in it.
func Scratch(dir string) (path string, remove func() error, err error) {
	if dir == "" {
		if dir = os.Getenv("TMPDIR"); dir == "" {
			dir = "/var/tmp"
		}
	}
	if path, err = os.MkdirTemp(dir, "spate-build-"); err != nil {
		return "", nil, err
	}
	return path, func() error { return removeUnmounted(path) }, nil
}

// removeUnmounted removes a folder, but not what a program may have mounted in it and left: that could be this machine's /dev.
func removeUnmounted(dir string) error {
	f, err := os.Open("/proc/self/mounts")
	if err == nil {
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if w := strings.Fields(lines.Text()); len(w) > 1 && strings.HasPrefix(w[1], filepath.Clean(dir)+"/") {
				return fmt.Errorf("%s is still mounted: umount it, and remove %s", w[1], dir)
			}
		}
	}
	return os.RemoveAll(dir)
}
