package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/bootimage"
	"github.com/spate-project/spate/cmd/internal/rootfs"
	"github.com/spate-project/spate/vdisk"
	"github.com/spate-project/spate/vdisk/tree"
)

// standardLine is the begin of the kernel's command line of a vDisk that is built here. A serial console that a machine does
// not have does no harm.
const standardLine = "console=tty0 console=ttyS0,115200n8 quiet"

// buildFlags are the flags of vdisk build.
type buildFlags struct {
	from, suite            string
	size, chunk, codec     string
	store, name, fs        string
	newVersion             bool
	kernelVersion, kernel  string
	include, mirrors, omit []string
	passwordFile, keyFile  string
	noLogin                bool
	line, scratch          string
	image                  bootimage.Options
	modules                moduleFlags
	asJSON                 bool
}

func newVdiskBuildCommand() *cobra.Command {
	var f buildFlags
	c := &cobra.Command{
		Use:   "build --from DIR|--mmdebstrap SUITE --size SIZE --name NAME --store DIR",
		Short: "Make a vDisk that machines can boot, with kernel and boot image",
		Long: `Make a vDisk that machines can boot, with kernel and boot image in it, out of a root folder or of Debian's packages.

--from DIR takes a folder with a system in it: a chroot, an unpacked container, or / of this machine. It needs a kernel with
its modules in it, of which the newest is taken unless --kernel-version names another. The folder is copied and never
changed; what is in its proc, sys, dev, run and tmp, and what --exclude names, is left out; a file
system that is mounted elsewhere in it is copied too. Nothing in the copy is mended: what will be noticed at boot, such as disks in its fstab, is said at the end.

--mmdebstrap SUITE installs Debian: systemd, a kernel, the network by DHCP, name resolution, what --include names, and an SSH
server when there is a key. It is set up as a system of which there are many: no host name and no machine-id of its own, the
journal in memory, no timers that fetch or clean, SSH host keys made once for all. Say who may log in: root on
the console with --root-password-file, over the network with --ssh-key, or nobody with --no-login.

The command line of the kernel is "` + standardLine + ` rootfstype=FS", and then what --command-line says;
the boot script adds servers, farm key and vDisk.

Everything that is missing is said before the work begins. It leaves the whole vDisk or nothing, also when it is interrupted.

Exit codes: 0 made, 1 failed and nothing left behind, 2 wrong usage.`,
		Example: `  spate vdisk build --mmdebstrap bookworm --size 4G --name debian12 --store /srv/vdisks --ssh-key ~/.ssh/id_ed25519.pub
  spate vdisk build --mmdebstrap trixie --include nginx,curl --root-password-file pw --size 8G --name web --store /srv/vdisks
  spate vdisk build --mmdebstrap bookworm --kernel-package linux-image-cloud-amd64 --cards virtio_net --no-login \
      --size 2G --name kiosk --store /srv/vdisks
  spate vdisk build --from /srv/chroots/lab --size 16G --name lab --new-version --store /srv/vdisks
  spate vdisk build --from / --exclude home --exclude srv --size 20G --name golden --store /srv/vdisks`,
		Args:              exactArgs(0, "no arguments"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.usage(c); err != nil {
				return err
			}
			b, err := f.build(c)
			if err != nil {
				return err
			}
			return b.run(c)
		},
	}
	f.add(c)
	return c
}

func (f *buildFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.from, "from", "", "root folder to copy")
	s.StringVar(&f.suite, "mmdebstrap", "", "release of Debian to install, such as bookworm")
	s.StringVar(&f.size, "size", "", "size of the disk, such as 8G")
	s.StringVar(&f.name, "name", "", "name of the vDisk")
	storeFlag(c, &f.store)
	s.BoolVar(&f.newVersion, "new-version", false, "the vDisk exists already, make this its next version")
	s.StringVar(&f.fs, "fs", "ext4", "file system: "+strings.Join(rootfs.FileSystems(), ", "))
	s.StringVar(&f.kernelVersion, "kernel-version", "", "which kernel of the folder (default: the newest)")
	s.StringVar(&f.kernel, "kernel-package", "", "package of the kernel to install (default: "+rootfs.StandardKernel()+")")
	s.StringSliceVar(&f.include, "include", nil, "further packages to install")
	s.StringArrayVar(&f.mirrors, "mirror", nil, "where packages come from, as mmdebstrap takes it (default: where this machine has its own from, if that is this suite, else Debian's mirrors)")
	s.StringArrayVar(&f.omit, "exclude", nil, "file or folder that is not copied, as a path from the root folder on")
	s.StringVar(&f.passwordFile, "root-password-file", "", "file with the password of root in its first line")
	s.StringVar(&f.keyFile, "ssh-key", "", "file with public SSH keys, with which root may log in")
	s.BoolVar(&f.noLogin, "no-login", false, "nobody shall be able to log in")
	s.StringVar(&f.line, "command-line", "", "further words for the kernel's command line")
	s.StringVar(&f.codec, "codec", vdisk.DefaultBootCodec.String(), "compression: "+strings.Join(tree.Codecs(), ", ")+"; s2-better takes a target a third of the time to unpack: for links of more than 1 Gbit/s")
	s.StringVar(&f.chunk, "chunk", fmt.Sprintf("%dK", vdisk.DefaultChunkSize>>10), "chunk size, a power of two from 4K to 1M")
	s.StringVar(&f.scratch, "scratch", "", "folder for the work, with room for the system twice (default: TMPDIR or /var/tmp)")
	f.modules.flags(c, &f.image)
	jsonFlag(c, &f.asJSON)
	_ = c.MarkFlagDirname("from")
	_ = c.MarkFlagDirname("scratch")
	_ = c.MarkFlagFilename("root-password-file")
	_ = c.MarkFlagFilename("ssh-key")
	_ = c.RegisterFlagCompletionFunc("fs", cobra.FixedCompletions(rootfs.FileSystems(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("codec", cobra.FixedCompletions(tree.Codecs(), cobra.ShellCompDirectiveNoFileComp))
}

// usage says what is wrong with the flags by themselves.
func (f *buildFlags) usage(c *cobra.Command) error {
	if (f.from == "") == (f.suite == "") {
		return usageError("either --from DIR or --mmdebstrap SUITE is needed: what the system is made of")
	}
	for _, need := range []struct{ value, flag string }{{f.size, "--size SIZE"}, {f.name, "--name NAME"}, {f.store, "--store DIR"}} {
		if need.value == "" {
			return usageError("%s is needed; see %s --help", need.flag, c.CommandPath())
		}
	}
	only := map[string][]string{
		"--from":       {"kernel-package", "include", "mirror", "root-password-file", "ssh-key", "no-login"},
		"--mmdebstrap": {"exclude"},
	}
	given, other := "--from", "--mmdebstrap"
	if f.suite != "" {
		given, other = other, given
	}
	for _, flag := range only[given] {
		if c.Flags().Changed(flag) {
			return usageError("--%s goes with %s, not with %s", flag, other, given)
		}
	}
	return f.modules.take(&f.image)
}
