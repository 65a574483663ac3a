package vmlab

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/vmtest"
	"github.com/spate-project/spate/vdisk"
)

// VDisk is what the disk of a Farm is called.
const VDisk = "debian"

// CommandLine is what every machine is booted with: a console that can be read, a mark when the root's first program runs, and
// an end when the kernel gives up. Whom it is compared with has the same.
const CommandLine = "console=ttyS0 loglevel=4 panic=-1 init=/spate/init"

// MakeDisk makes the boot image of a system and its vDisk, with these words on the kernel's command line, in the folder dir,
// with the programs in bin.
func MakeDisk(ctx context.Context, bin, dir string, system vmtest.System, commandLine string) (file string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	image := filepath.Join(dir, "boot.img")
	spate := filepath.Join(bin, "spate")
	for _, args := range [][]string{
		// With the drivers of all machines and the file system of this disk: the image that vdisk build makes.
		{spate, "bootimage", "build", "--fs", "ext4", "--modules", filepath.Join(system.Tree, "lib", "modules", system.Version), "--out", image},
		{spate, "vdisk", "import", system.Root, "--into", dir, "--name", VDisk, "--kernel", system.Kernel, "--boot-image", image, "--command-line", commandLine},
	} {
		if _, err := lab.Run(ctx, args...); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, vdisk.FileName(VDisk, 0)), nil
}
