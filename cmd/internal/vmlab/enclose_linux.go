package vmlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// InsideVariable is set in the environment of the process that has a network namespace of its own.
const InsideVariable = "SPATE_VMLAB_INSIDE"

// tools are the programs that the lab runs, with the Debian packages they come in.
var tools = []struct{ program, debianPackage string }{
	{"dnsmasq", "dnsmasq-base"}, {"nbd-server", "nbd-server"}, {"ip", "iproute2"}, {"tc", "iproute2"}, {"nft", "nftables"},
	{"ethtool", "ethtool"}, {"tcpdump", "tcpdump"},
}

// files are what comes with packages that have no program.
var files = []struct{ path, debianPackage string }{
	{"/usr/lib/ipxe/undionly.kpxe", "ipxe"}, {ovmf + "OVMF_CODE_4M.fd", "ovmf"}, {"/usr/lib/shim/shimx64.efi.signed", "shim-signed"},
	{"/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "grub-efi-amd64-signed"}, {"/usr/lib/ipxe/qemu", "ipxe-qemu"},
	{"/dev/net/tun", ""},
}

// Missing says what the lab takes and this computer has not; nil when it has everything.
func Missing() error {
	all := []error{vmtest.Missing()}
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			all = append(all, fmt.Errorf("%s is missing; install the Debian package %s", t.program, t.debianPackage))
		}
	}
	for _, f := range files {
		if _, err := os.Stat(f.path); err != nil {
			all = append(all, fmt.Errorf("%w; it comes with the Debian package %s", err, f.debianPackage))
		}
	}
	return errors.Join(all...)
}

// MissingPackages are the Debian packages that the lab takes and this computer has not.
func MissingPackages() []string {
	missing := vmtest.MissingPackages()
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, t.debianPackage)
		}
	}
	for _, f := range files {
		if _, err := os.Stat(f.path); err != nil && f.debianPackage != "" {
			missing = append(missing, f.debianPackage)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// Enclose runs this program again with the same arguments in a network namespace of its own, and returns its exit status.
// In that process inside is true, and nothing else happens.
func Enclose() (status int, inside bool, err error) {
	if os.Getenv(InsideVariable) != "" {
		return 0, true, nil
	}
	if err := lab.NeedLinks(); err != nil {
		return 1, false, err
	}
	// What comes from Debian's archive is fetched here: from the new namespace no way leads there.
	if _, err := vmtest.PrepareSystem(context.Background()); err != nil {
		return 1, false, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, false, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), InsideVariable+"=1")
	cmd.SysProcAttr = lab.Isolated()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, false, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the program
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // one that has ended takes none
		case err := <-ended:
			var failed *exec.ExitError
			if errors.As(err, &failed) && failed.ExitCode() > 0 {
				return failed.ExitCode(), false, nil // it has said why
			}
			if err != nil {
				return 1, false, err
			}
			return 0, false, nil
		}
	}
}

// Outside runs f, in the process that Enclose has started, with the calling thread in the network that this computer has: programs
// that f starts reach what it reaches.
func Outside(f func() error) error { return lab.WithinNetworkOf(os.Getppid(), f) }

// Main runs the tests of a package in a network namespace of their own. Where there can be none they run here, and skip
// by Need.
func Main(m *testing.M) int {
	if Missing() != nil || listing() {
		return m.Run()
	}
	status, inside, err := Enclose()
	if inside {
		return m.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return status
}

// listing tells whether tests are only listed.
func listing() bool {
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.list") {
			return true
		}
	}
	return false
}
