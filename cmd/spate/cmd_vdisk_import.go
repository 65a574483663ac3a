package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spate-project/spate/vdisk"
	"github.com/spate-project/spate/vdisk/tree"
	"github.com/spf13/cobra"
)

const importHelp = `Bring a disk image into a store, as a vDisk or as a new version of one.

IMAGE is a raw image, a block device, a qcow2, VHD, VHDX, VMDK or VDI file (these through qemu-img, of the Debian
package qemu-utils), or - for a raw image on standard input. The vDisk has the size of the image, rounded up to
whole sectors. Foreign images are turned into a temporary raw file in DIR first.

The import leaves the whole vDisk or nothing, also when it is interrupted. It fails when the image changes
meanwhile. Interrupting a pipe with Ctrl-C leaves nothing either. But a pipe cannot tell whether the command before it
reached its end or died: a disk that is too short would be taken for the whole one. Where the size is known, give it
with --size; where it is not, import from a file.

With --kernel, --boot-image and --command-line the version carries what machines boot it with: that moves, is copied,
and goes back to an earlier version together with the disk. Each version carries its own.

Exit codes: 0 imported, 1 failed and nothing left behind, 2 wrong usage.`

func newImportCommand() *cobra.Command {
	var (
		o            vdisk.ImportOptions
		codec, chunk string
		size         string
		boot         bootFlags
		asJSON       bool
	)
	c := &cobra.Command{
		Use:   "import IMAGE --into DIR",
		Short: "Bring a disk image into a store, as a vDisk",
		Long:  importHelp,
		Example: `  spate vdisk import debian12.img --into /srv/vdisks
  spate vdisk import win11.vhdx --into /srv/vdisks --name win11 --new-version
  spate vdisk import /dev/vg0/golden --into /srv/vdisks --name golden
  spate vdisk import debian12.img --into /srv/vdisks --kernel vmlinuz --boot-image boot.img --command-line "rootfstype=ext4"
  xzcat debian12.img.xz | spate vdisk import - --size 8G --name debian12 --into /srv/vdisks`,
		Args: exactArgs(1, "IMAGE"),
		RunE: func(c *cobra.Command, args []string) error {
			if o.Into == "" {
				return usageError("--into DIR is needed: the folder of the store")
			}
			o.Source = args[0]
			var err error
			if o.ChunkSize, err = parseSize(chunk); err != nil {
				return fmt.Errorf("--chunk: %w", err)
			}
			if c.Flags().Changed("size") {
				if o.Size, err = parseBytes(size); err != nil {
					return fmt.Errorf("--size: %w", err)
				}
				if o.Size == 0 {
					return usageError("--size 0: an empty disk cannot be imported")
				}
			}
			if o.Boot, err = boot.files(); err != nil {
				return err
			}
			o.Codec = vdisk.DefaultCodec
			if boot.kernel != "" {
				o.Codec = vdisk.DefaultBootCodec
			}
			if c.Flags().Changed("codec") {
				if o.Codec, err = tree.ParseCodec(codec); err != nil {
					return usageError("--codec: %w", err)
				}
			}
			return runImport(c, o, asJSON)
		},
	}
	c.Flags().StringVar(&o.Into, "into", "", "folder of the store")
	c.Flags().StringVar(&o.Name, "name", "", "name of the vDisk (default: that of the image file)")
	c.Flags().StringVar(&codec, "codec", "", fmt.Sprintf("compression: %s; zstd is a quarter smaller and takes a target three times as long to unpack: for links of 1 Gbit/s and less (default %s; %s with a kernel)",
		strings.Join(tree.Codecs(), ", "), vdisk.DefaultCodec, vdisk.DefaultBootCodec))
	c.Flags().StringVar(&chunk, "chunk", fmt.Sprintf("%dK", vdisk.DefaultChunkSize>>10), "chunk size, a power of two from 4K to 1M")
	c.Flags().StringVar(&size, "size", "", "size that the disk must have, such as 8589934592 or 8G; else nothing is imported")
	c.Flags().Uint32Var(&o.SectorSize, "sector", 0, "sector size of the disk, 512 or 4096 (default: the block device's, or 512)")
	c.Flags().BoolVar(&o.NewVersion, "new-version", false, "the vDisk exists already, make this its next version")
	boot.add(c)
	jsonFlag(c, &asJSON)
	_ = c.MarkFlagDirname("into")
	_ = c.RegisterFlagCompletionFunc("codec", cobra.FixedCompletions(tree.Codecs(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// exactArgs is cobra.ExactArgs with a sentence that names what is missing.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError("wants %s, got %d arguments; see %s --help", what, len(args), c.CommandPath())
		}
		return nil
	}
}

func runImport(c *cobra.Command, o vdisk.ImportOptions, asJSON bool) error {
	p := newProgress(c.ErrOrStderr())
	o.Input, o.Who, o.Program = c.InOrStdin(), whoami(), program()
	o.Progress = p.show
	o.Warn = func(s string) { p.say("warning: " + s) }
	r, err := vdisk.Import(c.Context(), o)
	p.end()
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted, nothing was left behind")
	}
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), struct {
			versionJSON
			Format  string  `json:"format"`
			Seconds float64 `json:"seconds"`
		}{summaryJSON(&r.Summary), r.Format.String(), r.Seconds})
	}
	fmt.Fprintln(c.OutOrStdout(), r)
	return nil
}
