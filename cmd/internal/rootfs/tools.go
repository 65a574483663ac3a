package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
)

// Tool is a program of another package.
type Tool struct{ Program, Package string }

// The tools of this package.
var (
	toolTar        = Tool{"tar", "tar"}
	toolMmdebstrap = Tool{"mmdebstrap", "mmdebstrap"}
	toolChroot     = Tool{"chroot", "coreutils"}
)

// fileSystems are those that a folder can be made into, by their names in the kernel.
var fileSystems = map[string]struct {
	tool   Tool
	module string
}{
	"ext4":  {Tool{"mke2fs", "e2fsprogs"}, "ext4"},
	"btrfs": {Tool{"mkfs.btrfs", "btrfs-progs"}, "btrfs"},
}

// FileSystems names the file systems of which an image can be made.
func FileSystems() []string { return []string{"ext4", "btrfs"} }

// missing says in one sentence each which tools are not there.
func missing(tools ...Tool) (problems []string) {
	for _, t := range tools {
		if look(t.Program) == "" {
			problems = append(problems, fmt.Sprintf("the program %s is missing: install the package %s", t.Program, t.Package))
		}
	}
	return problems
}

// look finds a program, also in the folders of the administrator's.
func look(program string) string {
	for _, dir := range filepath.SplitList(searchPath()) {
		file := filepath.Join(dir, program)
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// asRoot says why files could not be given their owners.
func asRoot() (problems []string) {
	if os.Geteuid() != 0 {
		return []string{"the files of a system belong to root and others: run it as root (for --from, fakeroot will do)"}
	}
	return nil
}
