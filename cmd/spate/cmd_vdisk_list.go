package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spate-project/spate/vdisk"
	"github.com/spf13/cobra"
)

func newListCommand() *cobra.Command {
	var (
		n      connection
		dir    string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "list [--store DIR]",
		Short: "List the vDisks of the farm, or what lies in a store",
		Long: `List the vDisks of the farm: for each the version that its plain name stands for and why that one, the servers that
hold it, and copies with which something is wrong.

With --store, list what lies in that folder of this machine instead, without asking a server: versions, files that
should be versions and cannot be used, and disk images that were not imported. It reads headers and seals only;
"spate vdisk verify" reads everything.
` + whereHelp + `

Exit codes: 0 listed, 1 failed, 2 wrong usage, 4 no server could be asked.`,
		Example: `  spate vdisk list
  spate vdisk list --json | jq -r '.vdisks[] | select(.pending) | .name'
  spate vdisk list --store /srv/vdisks`,
		Args:              exactArgs(0, "no arguments"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("store") {
				return listOnline(c, &n, asJSON)
			}
			if dir == "" {
				return usageError("--store: name the folder with the vDisk files")
			}
			inv, err := vdisk.List(dir)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), inventoryJSON(&inv))
			}
			printInventory(c.OutOrStdout(), &inv)
			return nil
		},
	}
	n.flags(c)
	storeFlag(c, &dir)
	jsonFlag(c, &asJSON)
	return c
}

type storeJSON struct {
	Dir      string        `json:"dir"`
	Versions []versionJSON `json:"versions"`
	Bad      []badJSON     `json:"bad"`
	Images   []imageJSON   `json:"not_imported"`
}

type badJSON struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
	Advice string `json:"advice"`
}

type imageJSON struct {
	File   string `json:"file"`
	Format string `json:"format"`
	Size   int64  `json:"size"`
	Import string `json:"import"`
}

func inventoryJSON(inv *vdisk.Inventory) storeJSON {
	out := storeJSON{Dir: inv.Dir, Versions: []versionJSON{}, Bad: []badJSON{}, Images: []imageJSON{}}
	for i := range inv.Replicas {
		out.Versions = append(out.Versions, infoJSON(&inv.Replicas[i].Info, inv.Replicas[i].Damage))
	}
	for _, b := range inv.Bad {
		out.Bad = append(out.Bad, badJSON{b.File, b.Reason, b.Advice})
	}
	for _, i := range inv.Images {
		out.Images = append(out.Images, imageJSON{i.File, i.Format.String(), i.Size, i.Hint(inv.Dir)})
	}
	return out
}

func printInventory(w io.Writer, inv *vdisk.Inventory) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	if len(inv.Replicas) > 0 {
		fmt.Fprintln(t, "VDISK\tVERSION\tDISK\tSTORED\tCHUNK\tCODEC\tROOT\tSEALED\tBOOT\tSTATE")
	}
	for _, r := range inv.Replicas {
		state := "ok"
		if len(r.Damage) > 0 {
			state = fmt.Sprintf("%s damaged", r.Damage[0].Part)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%dK\t%v\t%s\t%s\t%s\t%s\n", r.Name, r.Number, vdisk.Bytes(r.Shape.Size), vdisk.Bytes(r.Stored),
			r.Shape.ChunkSize>>10, r.Codec, r.ID.Root.Short(), r.When.Local().Format("2006-01-02 15:04"), bootWords(&r.Boot), state)
	}
	t.Flush()
	if len(inv.Replicas) == 0 {
		fmt.Fprintf(w, "%s holds no vDisk\n", inv.Dir)
	}
	for _, r := range inv.Replicas {
		for _, d := range r.Damage {
			fmt.Fprintf(w, "\n%s: %s: %s; %s\n", r.File, d.Part, d.Reason, d.Advice(r.Name, r.Number, filepath.Join(inv.Dir, r.File)))
		}
	}
	for _, b := range inv.Bad {
		fmt.Fprintf(w, "\n%s cannot be used: %s; %s\n", b.File, b.Reason, b.Advice)
	}
	for _, i := range inv.Images {
		fmt.Fprintf(w, "\n%s (%v, %s) is not imported, run: %s\n", i.File, i.Format, vdisk.Bytes(i.Size), i.Hint(inv.Dir))
	}
}

func newInfoCommand() *cobra.Command {
	var (
		dir    string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "info NAME[@VERSION] --store DIR | info FILE",
		Short: "Tell everything that a version says about itself",
		Long: `Tell everything that a version says about itself, from its header and its seal. Without @VERSION it is the highest
version in the store.

Exit codes: 0 told, 1 failed, 2 wrong usage.`,
		Example: `  spate vdisk info debian12 --store /srv/vdisks
  spate vdisk info debian12@3 --store /srv/vdisks --json
  spate vdisk info /srv/vdisks/debian12.3.spate`,
		Args:              exactArgs(1, "NAME[@VERSION] or FILE"),
		ValidArgsFunction: once(completeStored),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := fileOf(dir, args[0])
			if err != nil {
				return err
			}
			v, err := vdisk.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err != nil {
				return fmt.Errorf("%w; what to do: %s", err, vdisk.Advice(err))
			}
			defer v.Close()
			info := v.Info()
			if asJSON {
				return printJSON(c.OutOrStdout(), infoJSON(&info, v.Damage()))
			}
			printInfo(c.OutOrStdout(), &info, v.Damage())
			return nil
		},
	}
	storeFlag(c, &dir)
	jsonFlag(c, &asJSON)
	return c
}

// fileOf finds the file that an argument means: a version of a store, or, without one, a file itself.
func fileOf(dir, arg string) (string, error) {
	if dir != "" {
		return pick(dir, arg)
	}
	if _, err := os.Stat(arg); err != nil {
		return "", usageError("%w; name a file, or a vDisk with --store DIR", err)
	}
	return arg, nil
}

func printInfo(w io.Writer, i *vdisk.Info, damage []vdisk.Damage) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("vDisk", "%s", i.Name)
	row("version", "%d", i.Number)
	row("file", "%s (%s)", i.Path, vdisk.Bytes(i.File))
	row("disk", "%s (%d bytes), sectors of %d", vdisk.Bytes(i.Shape.Size), i.Shape.Size, i.Shape.SectorSize)
	row("stored", "%s in %d chunks of %d KiB, %v; %d more are zero, %d did not compress", vdisk.Bytes(i.Stored), i.Chunks-i.Zeros,
		i.Shape.ChunkSize>>10, i.Codec, i.Zeros, i.Raws)
	row("root", "%v", i.ID.Root)
	row("timestamp", "%d (%s)", i.ID.Timestamp, timestampText(i.ID.Timestamp))
	row("disk's hash", "%v (BLAKE3)", i.Logical)
	row("sealed", "%s by %s, with %s", i.When.Local().Format("2006-01-02 15:04:05 MST"), i.Who, i.Program)
	if b := &i.Boot; b.Any() {
		row("kernel", "%s", bootFileWords(b.Kernel))
		row("boot image", "%s", bootFileWords(b.Image))
		row("command line", "%s", b.CommandLine)
	}
	for _, d := range damage {
		row("damaged", "%s: %s", d.Part, d.Reason)
	}
	t.Flush()
}
