package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/bootimage"
	"github.com/spate-project/spate/vdisk"
)

// newBootimageCommand makes "spate bootimage" with everything below it.
func newBootimageCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bootimage",
		Short: "Make boot images, and look into them",
		Long: `A boot image is the initramfs with which a machine comes from its kernel to its vDisk: the program spate-target as init,
and the kernel modules that it needs. It belongs to one kernel. A version of a vDisk carries both: see vdisk build,
which makes all of it at once, and vdisk import --kernel --boot-image.`,
	}
	return group(c, newBootimageBuildCommand(), newBootimageShowCommand())
}

// moduleFlags are those that say which modules, firmware and files a boot image gets.
type moduleFlags struct{ add []string }

// flags adds them for o.
func (m *moduleFlags) flags(c *cobra.Command, o *bootimage.Options) {
	f := c.Flags()
	f.StringVar(&o.Init, "init", "", "the program that becomes init (default: spate-target beside this program)")
	f.StringSliceVar(&o.Cards, "cards", nil, "network drivers in place of the standard ones, such as virtio_net,e1000e")
	f.StringSliceVar(&o.MoreModules, "module", nil, "a further module: loaded for the devices that it drives, or always when it drives none")
	f.BoolVar(&o.AllNetwork, "all-network", false, "the drivers of all Ethernet cards that the kernel has")
	f.StringVar(&o.Firmware, "firmware", "", "folder from which the firmware for the modules is taken, such as /lib/firmware")
	f.StringArrayVar(&m.add, "add", nil, "SOURCE:TARGET, a file or folder and where it lies in the boot image, such as ca.pem:/etc/ca.pem")
	_ = c.MarkFlagDirname("firmware")
	_ = c.MarkFlagFilename("init")
}

// take reads what was given.
func (m *moduleFlags) take(o *bootimage.Options) error {
	for _, a := range m.add {
		source, target, ok := strings.Cut(a, ":")
		if !ok || source == "" || !strings.HasPrefix(target, "/") {
			return usageError("--add %q: write SOURCE:TARGET, with TARGET from / on", a)
		}
		o.Add = append(o.Add, bootimage.Extra{Source: source, Target: target})
	}
	return nil
}

func newBootimageBuildCommand() *cobra.Command {
	var (
		o      bootimage.Options
		more   moduleFlags
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "build --modules DIR|--kernel-package FILE --out FILE",
		Short: "Make the boot image for a kernel",
		Long: `Make the boot image for a kernel: spate-target as init, and those of the kernel's modules that lead from power-on to a
mounted root file system.

The modules come from a folder /lib/modules/VERSION, from a root folder in which a kernel is installed, or from a kernel's
Debian package, which need not be installed: "apt-get download linux-image-6.1.0-56-amd64" fetches one. Three groups go
into the image: nbd, which each machine loads; file systems, of which those that the root takes are loaded; drivers of
network cards, of which a machine loads those that it has. Which ones, and what they need in turn, is worked out from the
modules themselves. They are unpacked, never changed: the signature that Secure Boot asks for stays.

The image has two parts when it has drivers of common cards and of others: a machine whose card is surely a common one loads the
first part only, by HTTP. For every other machine and boot loader it is one file, with the drivers of all cards.

The same inputs make the same file, byte for byte. It appears under its name whole or not at all.

Exit codes: 0 made, 1 failed and nothing left behind, 2 wrong usage.`,
		Example: `  spate bootimage build --modules /lib/modules/6.1.0-56-amd64 --out boot.img
  spate bootimage build --kernel-package linux-image-6.1.0-56-amd64_6.1.192-2_amd64.deb --out boot.img --kernel-out vmlinuz
  spate bootimage build --modules / --fs ext4 --cards virtio_net,e1000e --out small.img
  spate bootimage build --modules / --all-network --firmware /lib/firmware --out large.img
  spate vdisk import debian12.img --into /srv/vdisks --kernel vmlinuz --boot-image boot.img`,
		Args:              exactArgs(0, "no arguments"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case (o.Modules == "") == (o.KernelPackage == ""):
				return usageError("either --modules DIR or --kernel-package FILE is needed: where the kernel's modules are")
			case o.Out == "":
				return usageError("--out FILE is needed: the boot image to write")
			}
			if err := more.take(&o); err != nil {
				return err
			}
			r, err := buildImage(c.Context(), c.ErrOrStderr(), o)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), imageReportJSON(r))
			}
			printImage(c.OutOrStdout(), r)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Modules, "modules", "", "folder /lib/modules/VERSION, or a root folder with one")
	f.StringVar(&o.KernelPackage, "kernel-package", "", "Debian package of a kernel, a file linux-image-VERSION_….deb")
	f.StringVar(&o.KernelVersion, "kernel-version", "", "which kernel, where the folder has several")
	f.StringVar(&o.Out, "out", "", "the boot image to write")
	f.StringVar(&o.KernelOut, "kernel-out", "", "write the kernel that belongs to it there")
	f.StringSliceVar(&o.FileSystems, "fs", nil, "file systems (default: those of "+strings.Join(bootimage.StandardFileSystems(), ", ")+" that the kernel has)")
	f.BoolVar(&o.Plain, "uncompressed", false, "leave the archive unpacked, for kernels without zstd")
	more.flags(c, &o)
	jsonFlag(c, &asJSON)
	_ = c.MarkFlagDirname("modules")
	_ = c.MarkFlagFilename("kernel-package", "deb")
	return c
}

// buildImage makes a boot image and shows on w how far it is.
func buildImage(ctx context.Context, w io.Writer, o bootimage.Options) (*bootimage.Report, error) {
	s := newStatus(w, lineEvery)
	s.last = s.now()
	o.Progress = func(p bootimage.Progress) {
		if !s.due() {
			return
		}
		line := p.Stage
		if p.Total > 0 {
			line += fmt.Sprintf(", %s of %s", vdisk.Bytes(p.Done), vdisk.Bytes(p.Total))
		}
		s.write(line)
	}
	r, err := bootimage.Build(ctx, o)
	s.end()
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted, nothing was left behind")
	}
	return r, err
}

// groupTotal is what a group of modules amounts to.
type groupTotal struct {
	names []string
	bytes int64
}

// printImage tells what went into an image.
func printImage(w io.Writer, r *bootimage.Report) {
	groups, unsigned := map[string]*groupTotal{}, 0
	order := []string{}
	total := int64(0)
	for _, m := range r.Modules {
		name := m.Group
		if m.Part == 2 {
			name += ", second part"
		}
		g := groups[name]
		if g == nil {
			g = &groupTotal{}
			groups[name] = g
			order = append(order, name)
		}
		g.names = append(g.names, m.Name)
		g.bytes += m.Bytes
		total += m.Bytes
		if !m.Signed {
			unsigned++
		}
	}
	slices.Sort(order)
	t := table{head: []string{"CONTENT", "SIZE", "FILES"}}
	init := int64(0)
	for _, f := range r.Files {
		if f.Name == "init" {
			init = f.Bytes
		}
	}
	t.add("init", vdisk.Bytes(init), r.Init)
	for _, name := range order {
		g := groups[name]
		t.add("modules: "+name, vdisk.Bytes(g.bytes), wrapNames(g.names))
	}
	if other := r.Unpacked - total - init; other > 0 {
		t.add("all else", vdisk.Bytes(other), "lists, folders, what was added")
	}
	t.write(w)
	fmt.Fprintf(w, "%s: %s, unpacked %s, for kernel %s\n", r.Path, vdisk.Bytes(r.Bytes), vdisk.Bytes(r.Unpacked), r.Kernel)
	contested := []string{}
	if p := r.Parts; p != nil {
		fmt.Fprintf(w, "first part: %s, for machines with one of %d kinds of common cards; second part: %s\n", vdisk.Bytes(p.First), p.Cards, vdisk.Bytes(p.Second))
		contested = p.Contested
	} else {
		fmt.Fprintf(w, "one part, which every machine loads: %s\n", r.Whole)
	}
	for _, note := range []struct {
		names []string
		text  string
	}{
		{contested, "second part, and yet drivers of common cards too, which need the whole"}, {r.BuiltIn, "built into the kernel"}, {r.Absent, "not in this kernel"},
		{r.MissingFirmware, "firmware that these modules may ask for and the folder does not have"},
	} {
		if len(note.names) > 0 {
			fmt.Fprintf(w, "%s: %s\n", note.text, wrapNames(note.names))
		}
	}
	if unsigned > 0 {
		fmt.Fprintf(w, "not signed: %s; a machine with Secure Boot refuses them\n", count(unsigned, "module"))
	}
}

// wrapNames names the first of many.
func wrapNames(names []string) string {
	const most = 6
	if len(names) <= most {
		return strings.Join(names, " ")
	}
	return strings.Join(names[:most], " ") + fmt.Sprintf(" and %d more", len(names)-most)
}

type bootImageJSON struct {
	Path            string        `json:"path"`
	Bytes           int64         `json:"size"`
	Unpacked        int64         `json:"unpacked"`
	Kernel          string        `json:"kernel_version"`
	KernelFile      string        `json:"kernel,omitempty"`
	Init            string        `json:"init"`
	Parts           *partsJSON    `json:"parts"`
	Whole           string        `json:"not_divided,omitempty"`
	Modules         []moduleJSON  `json:"modules"`
	Files           []contentJSON `json:"files"`
	BuiltIn         []string      `json:"built_in"`
	Absent          []string      `json:"not_in_kernel"`
	MissingFirmware []string      `json:"missing_firmware"`
}

type partsJSON struct {
	First     int64    `json:"first"`
	Second    int64    `json:"second"`
	Cards     int      `json:"cards"`
	Contested []string `json:"contested_by"`
}

type moduleJSON struct {
	Name   string `json:"name"`
	Group  string `json:"group"`
	Part   int    `json:"part"`
	Bytes  int64  `json:"size"`
	Signed bool   `json:"signed"`
}

type contentJSON struct {
	Name  string `json:"name"`
	Mode  string `json:"mode"`
	Bytes int64  `json:"size"`
	Link  string `json:"link,omitempty"`
}

func imageReportJSON(r *bootimage.Report) bootImageJSON {
	j := bootImageJSON{
		Path: r.Path, Bytes: r.Bytes, Unpacked: r.Unpacked, Kernel: r.Kernel, KernelFile: r.KernelFile, Init: r.Init, Parts: partsReport(r.Parts), Whole: r.Whole,
		Modules: []moduleJSON{}, Files: contentsJSON(r.Files),
		BuiltIn: append([]string{}, r.BuiltIn...), Absent: append([]string{}, r.Absent...), MissingFirmware: append([]string{}, r.MissingFirmware...),
	}
	for _, m := range r.Modules {
		j.Modules = append(j.Modules, moduleJSON(m))
	}
	return j
}

// partsReport is nil for an image without parts.
func partsReport(p *bootimage.Parts) *partsJSON {
	if p == nil {
		return nil
	}
	return &partsJSON{p.First, p.Second, p.Cards, append([]string{}, p.Contested...)}
}

func contentsJSON(all []bootimage.Entry) []contentJSON {
	out := []contentJSON{}
	for _, e := range all {
		out = append(out, contentJSON{e.Name, e.ModeString(), e.Bytes, e.Link})
	}
	return out
}
