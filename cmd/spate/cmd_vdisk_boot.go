package main

import (
	"fmt"
	"strings"

	"github.com/spate-project/spate/vdisk"
	"github.com/spf13/cobra"
)

// bootFlags are the flags that name what a version is booted with.
type bootFlags struct {
	kernel, image, line string
}

func (b *bootFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&b.kernel, "kernel", "", "Linux kernel that machines boot the vDisk with")
	c.Flags().StringVar(&b.image, "boot-image", "", "boot image (initramfs) for that kernel")
	c.Flags().StringVar(&b.line, "command-line", "", "command line of the kernel, in one line; the boot script adds servers, farm key and vDisk")
	_ = c.MarkFlagFilename("kernel")
	_ = c.MarkFlagFilename("boot-image")
}

// files looks at the files and gives them, or everything that is wrong with them.
func (b *bootFlags) files() (vdisk.BootFiles, error) {
	files := vdisk.BootFiles{CommandLine: b.line}
	var all []error
	for _, f := range []struct {
		kind vdisk.BootKind
		path string
		to   *vdisk.BootSource
	}{{vdisk.BootKernel, b.kernel, &files.Kernel}, {vdisk.BootImage, b.image, &files.Image}} {
		if f.path == "" {
			continue
		}
		var err error
		if *f.to, err = vdisk.BootFileAt(f.kind, f.path); err != nil {
			all = append(all, err)
		}
	}
	if err := vdisk.CheckCommandLine(b.line); err != nil {
		all = append(all, flagError("--command-line", err))
	}
	if b.kernel == "" && (b.image != "" || b.line != "") {
		all = append(all, usageError("--boot-image and --command-line are of no use without --kernel: name the kernel, too"))
	}
	switch len(all) {
	case 0:
		return files, nil
	case 1:
		return files, all[0]
	}
	var text strings.Builder
	for _, err := range all {
		fmt.Fprintf(&text, "\n  %v", err)
	}
	return files, together(all, fmt.Errorf("%d things are wrong with what the vDisk is to be booted with:%s", len(all), text.String()))
}

// bootJSON is what a version is booted with, as --json tells it.
type bootJSON struct {
	Digest      string        `json:"digest"`
	Kernel      *bootFileJSON `json:"kernel,omitempty"`
	Image       *bootFileJSON `json:"boot_image,omitempty"`
	CommandLine string        `json:"command_line,omitempty"`
	Problem     string        `json:"problem,omitempty"`
}

type bootFileJSON struct {
	Size int64  `json:"size"`
	Hash string `json:"blake3"`
}

// bootOf is nil when the version carries nothing.
func bootOf(b *vdisk.BootInfo) *bootJSON {
	if !b.Any() {
		return nil
	}
	file := func(f vdisk.BootFileInfo) *bootFileJSON {
		if f.Size == 0 {
			return nil
		}
		return &bootFileJSON{f.Size, f.Hash.String()}
	}
	return &bootJSON{b.Digest.String(), file(b.Kernel), file(b.Image), b.CommandLine, b.Problem}
}

// bootWords tells in a table's cell what a version is booted with.
func bootWords(b *vdisk.BootInfo) string {
	switch {
	case !b.Any():
		return "no kernel"
	case b.Problem != "":
		return "damaged"
	case b.Image.Size == 0:
		return "kernel"
	}
	return "kernel, image"
}

func bootFileWords(f vdisk.BootFileInfo) string {
	if f.Size == 0 {
		return "none"
	}
	return fmt.Sprintf("%s, %v (BLAKE3)", vdisk.Bytes(f.Size), f.Hash)
}
