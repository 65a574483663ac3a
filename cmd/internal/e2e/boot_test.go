//go:build system

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// A BIOS machine with a virtio card boots over HTTP from a farm, comes up without a failed unit, keeps what it writes, though
// its worker dies and its firewall drops everything, and powers off cleanly with dirty pages; `spate target list` tells how
// long its boot took.
func TestABIOSMachineBootsToAWorkingSystemAndPowersOff(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	m := l.Boot(vmlab.Hardware{})
	m.WaitMark("init ", toInit)
	settles(t, m)
	_, target, err := f.Serving(vmlab.Within(t, seconds), m.MAC)
	if err != nil {
		t.Fatal(err)
	}
	loadsTheFirstPart(t, f, m)
	if b := target.Boot; b == nil {
		t.Errorf("the server knows no times of the boot: %+v", target)
	} else if t.Logf("boot times: %+v", *b); !slices.IsSorted([]uint32{1, b.Modules, b.Network, b.LogIn, b.Attached, b.Root, b.Init}) || b.Firmware == 0 || b.Total != b.Firmware+b.Init {
		t.Errorf("stages of the boot are missing, or stand in another order: %+v", *b)
	}
	if out := m.MustRun("findmnt -no SOURCE,OPTIONS /", seconds); !strings.Contains(out, "rw") {
		t.Errorf("the root is mounted as %q", out)
	}
	remember(t, m)
	for i, c := range []inside{workerKilled, firewall} {
		t.Run(c.name, func(t *testing.T) { c.on(t, m.For(t), i) })
	}
	out := m.MustRun("head -c 40M /dev/urandom > /var/tmp/dirty; grep ^Dirty: /proc/meminfo", seconds)
	kilobytes := 0
	if _, err := fmt.Sscanf(out, "Dirty: %d kB", &kilobytes); err != nil || kilobytes < 10<<10 {
		t.Errorf("there are no dirty pages to speak of: %s, %v", out, err)
	}
	powersOff(t, m)
}

// loadsTheFirstPart wants that a machine has not loaded the drivers of cards that it does not have: its card is a common one.
func loadsTheFirstPart(t *testing.T, f *vmlab.Farm, m *vmlab.Guest) {
	t.Helper()
	for line := range strings.Lines(f.Said()) {
		if strings.Contains(line, m.MAC) && strings.Contains(line, "without the drivers of other cards") {
			return
		}
	}
	t.Error("the whole boot image was loaded: iPXE has not said which card the machine has, or the servers do not know it as a common one")
}

// Under enforced Secure Boot a machine boots through the signed shim, GRUB and kernel.
func TestAMachineBootsUnderSecureBoot(t *testing.T) {
	l, _ := withFarm(t, vmlab.FarmOptions{SecureBoot: true})
	m := l.Boot(vmlab.Hardware{Firmware: vmlab.SecureBoot, Memory: 1024})
	m.WaitMark("init ", toInitSecure)
	m.WaitMark("settled state=running failed=[]", toInitSecure)
	if out := m.MustRun("cat /sys/kernel/security/lockdown; dmesg | grep -i 'secure boot'", seconds); !strings.Contains(out, "[integrity]") || !strings.Contains(strings.ToLower(out), "enabled") {
		t.Errorf("the kernel does not say that Secure Boot is enforced:\n%s", out)
	}
	healthy(t, m)
}

// Two machines from one vDisk see only what they wrote themselves, and after a reset not even that.
func TestTwoMachinesSeeOnlyTheirOwnWrites(t *testing.T) {
	l, _ := withFarm(t, vmlab.FarmOptions{})
	a, b := l.Boot(vmlab.Hardware{Name: "a", Reboot: true}), l.Boot(vmlab.Hardware{Name: "b"})
	const look = "sync; echo 3 > /proc/sys/vm/drop_caches; cat /var/tmp/mine.* | sort -u | tr -d '\\n'"
	for _, m := range []*vmlab.Guest{a, b} {
		m.WaitMark("settled state=running failed=[]", 2*toSystem)
		m.MustRun("for i in $(seq 100); do echo "+m.Name+" > /var/tmp/mine.$i; done", seconds)
	}
	for _, m := range []*vmlab.Guest{a, b} {
		if out := m.MustRun(look, seconds); out != m.Name {
			t.Errorf("%s reads %q", m.Name, out)
		}
		healthy(t, m)
	}
	begin := a.Next()
	if err := a.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.AwaitLine(vmlab.Within(t, toSystem), begin, "MARK settled state=running failed=[]"); err != nil {
		t.Fatal(err)
	}
	if out := a.MustRun("ls /var/tmp", seconds); strings.Contains(out, "mine.") {
		t.Errorf("a has files of its last life:\n%s", out)
	}
	if out := b.MustRun(look, seconds); out != "b" {
		t.Errorf("b reads %q", out)
	}
}
