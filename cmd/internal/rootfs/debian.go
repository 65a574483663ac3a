package rootfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Debian is a root folder to make of Debian's packages, or of a distribution made of it.
type Debian struct {
	// Suite is its release, such as bookworm.
	Suite string
	// Mirrors are where the packages come from, as mmdebstrap takes them; none: where this machine has its own from,
	// if that is the same suite, else Debian's mirrors.
	Mirrors []string
	// Kernel is the package that brings the kernel; empty: StandardKernel.
	Kernel string
	// Include are further packages.
	Include []string
	Login   Login
}

// StandardKernel is the package of the kernel that runs on any machine of this architecture.
func StandardKernel() string { return "linux-image-" + runtime.GOARCH }

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?$`)
	suiteName   = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
)

// Problems says why it cannot be made, before anything is done.
func (d Debian) Problems() []string {
	problems := append(missing(toolMmdebstrap, toolChroot), asRoot()...)
	if !suiteName.MatchString(d.Suite) {
		problems = append(problems, fmt.Sprintf("%q is not the name of a release, such as bookworm", d.Suite))
	}
	for _, p := range d.packages() {
		if !packageName.MatchString(p) {
			problems = append(problems, fmt.Sprintf("%q is not the name of a package", p))
		}
	}
	return append(problems, d.Login.problems()...)
}

// oldSuites have systemd-resolved in the package systemd.
var oldSuites = []string{"stretch", "buster", "bullseye", "oldoldstable", "focal", "jammy"}

// packages are what is installed beside the variant minbase.
func (d Debian) packages() []string {
	all := []string{"systemd-sysv", "udev", "kmod", "dbus", "iproute2"}
	if !slices.Contains(oldSuites, d.Suite) {
		all = append(all, "systemd-resolved")
	}
	kernel := d.Kernel
	if kernel == "" {
		kernel = StandardKernel()
	}
	all = append(all, kernel)
	if len(d.Login.Keys) > 0 {
		all = append(all, "openssh-server")
	}
	for _, p := range d.Include {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// Make makes the root folder in dir, which is there and empty. line gets what mmdebstrap says, as it goes.
func (d Debian) Make(ctx context.Context, dir string, line func(string)) error {
	mirrors := d.Mirrors
	if len(mirrors) == 0 {
		mirrors = ownSources("/etc/apt", d.Suite)
	}
	c := command{
		name: look(toolMmdebstrap.Program),
		args: slices.Concat([]string{"--mode=root", "--variant=minbase", "--format=directory", "--include=" + strings.Join(d.packages(), ","), d.Suite, dir}, mirrors),
		env:  []string{"INITRD=No", "DEBIAN_FRONTEND=noninteractive"}, // the kernel's package makes no initramfs
		line: line,
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	return d.prepare(ctx, dir)
}

// file is a file of a root folder.
type file struct {
	name, content string
	mode          os.FileMode
}

// files make one system of which there are many: see doc.go.
func (d Debian) files() []file {
	all := []file{
		{"etc/hostname", "", 0o644}, {"etc/machine-id", "", 0o444},
		{"etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n", 0o644},
		{"etc/fstab", "# The root file system is mounted by the boot image. It is not checked at boot, and there is no swap.\n", 0o644},
		{"etc/systemd/network/80-ethernet.network", network, 0o644},
		{"etc/systemd/journald.conf.d/spate.conf", "# Writes go to the memory of this machine anyway.\n[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n", 0o644},
	}
	if len(d.Login.Keys) > 0 {
		all = append(all, file{"root/.ssh/authorized_keys", strings.Join(d.Login.Keys, "\n") + "\n", 0o600})
	}
	return all
}

// network goes on with what the boot image has set up.
const network = `# The root file system is behind this network: no address is ever taken away. The boot image has an address already;
# asking again under the MAC address gives the same address.
[Match]
Type=ether
Kind=!*

[Network]
DHCP=ipv4
KeepConfiguration=yes

[DHCPv4]
ClientIdentifier=mac
SendRelease=no

[Link]
RequiredForOnline=no
`

// masked are units that have no sense on a machine without a disk of its own.
var masked = []string{
	"systemd-networkd-wait-online.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer",
	"e2scrub_all.timer", "e2scrub_reap.service",
}

// prepare makes what mmdebstrap left into one system of which there are many.
func (d Debian) prepare(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir) // links in the folder lead nowhere else
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range d.files() {
		if err := put(root, f); err != nil {
			return err
		}
	}
	for _, unit := range masked {
		name := "etc/systemd/system/" + unit
		if _, err := root.Lstat(name); err == nil {
			continue // somebody has said something about it
		}
		if err := root.Symlink("/dev/null", name); err != nil {
			return err
		}
	}
	// Name servers come from DHCP, not from the machine on which this runs.
	_ = root.Remove("etc/.resolv.conf.systemd-resolved.bak")
	if err := root.Remove("etc/resolv.conf"); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := root.Symlink("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf"); err != nil {
		return err
	}
	enable := command{name: look(toolChroot.Program), args: []string{dir, "systemctl", "enable", "systemd-networkd.service", "systemd-resolved.service"}}
	if err := enable.run(ctx); err != nil {
		return err
	}
	if d.Login.Password == "" {
		return nil
	}
	password := command{name: look(toolChroot.Program), args: []string{dir, "chpasswd"}, input: strings.NewReader("root:" + d.Login.Password + "\n")}
	return password.run(ctx)
}

// put writes a file in place of what is there.
func put(root *os.Root, f file) error {
	folder := filepath.Dir(f.name)
	mode := os.FileMode(0o755)
	if f.mode&0o077 == 0 {
		mode = 0o700 // sshd asks for that of .ssh
	}
	if err := root.MkdirAll(folder, mode); err != nil {
		return err
	}
	if err := root.Remove(f.name); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := root.WriteFile(f.name, []byte(f.content), f.mode); err != nil {
		return err
	}
	return root.Chmod(f.name, f.mode) // whatever the umask is
}
