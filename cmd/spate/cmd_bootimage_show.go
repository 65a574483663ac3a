package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/bootsvc/parts"
	"github.com/spate-project/spate/cmd/internal/bootimage"
)

func newBootimageShowCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "List what is in a boot image",
		Long: `List what is in a boot image, or in any other initramfs: archives one behind the other, not packed, or packed with zstd, xz or
gzip. It is read to its end: an image that was cut or damaged is told, which no kernel unpacks. Of two files of one name the later
one counts. Behind an archive that is packed with xz nothing is looked for.

Exit codes: 0 listed and sound, 1 failed or damaged, 2 wrong usage.`,
		Example: `  spate bootimage show boot.img
  spate bootimage show boot.img --json | jq -r '.files[].name'`,
		Args: exactArgs(1, "FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			all, how, err := bootimage.Show(f)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					Packed string        `json:"packed"`
					Files  []contentJSON `json:"files"`
				}{how, contentsJSON(all)})
			}
			t := table{head: []string{"MODE", "SIZE", "NAME"}}
			total := int64(0)
			for _, e := range all {
				name := e.Name
				if e.Link != "" {
					name += " -> " + e.Link
				}
				t.add(e.ModeString(), strconv.FormatInt(e.Bytes, 10), name)
				total += e.Bytes
			}
			t.write(c.OutOrStdout())
			fmt.Fprintf(c.OutOrStdout(), "%s, %d bytes, packed: %s\n", count(len(all), "name"), total, how)
			if fi, err := f.Stat(); err == nil {
				if h, err := parts.Read(f, fi.Size()); err == nil {
					fmt.Fprintf(c.OutOrStdout(), "first part: %d bytes of the file, for machines with one of %d kinds of common cards\n", h.First, len(h.Cards)+len(h.Vendors))
				}
			}
			return nil
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
