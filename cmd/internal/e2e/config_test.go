//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// What the farm file says of single machines is what the person before each of them sees: a menu, in which a key takes the local
// disk and whose time runs out for the default; a reason not to boot; the machine's own disk, after which its firmware goes on.
func TestTheScreenShowsWhatTheFarmFileSaysOfAMachine(t *testing.T) {
	l, _ := withFarm(t, vmlab.FarmOptions{Devices: []string{
		"{name: pc-menu, mac: '" + vmlab.MAC(1) + "', collection: all, menu: {default: debian, timeout: 10s, local_disk: on}}",
		"{name: pc-deny, mac: '" + vmlab.MAC(2) + "', collection: all, boot: deny}",
		"{name: pc-local, mac: '" + vmlab.MAC(3) + "', collection: all, boot: local}",
	}})
	const local, failed = "Spate: booting from the local disk", "Spate: the local disk does not boot"

	t.Run("menu", func(t *testing.T) {
		m := l.For(t).Boot(vmlab.Hardware{})
		defer m.Kill()
		m.WaitLine("Local disk", toInit)
		if err := m.Type("l"); err != nil {
			t.Fatal(err)
		}
		m.WaitLine(local, toInit)
		m.WaitLine(failed, toInit) // it has none, and comes back to the menu
		m.WaitMark("init ", toInit)
		settles(t, m)
	})
	t.Run("deny", func(t *testing.T) {
		m := l.For(t).Boot(vmlab.Hardware{})
		defer m.Kill()
		m.WaitLine("This machine does not boot from Spate.", toInit)
		m.WaitLine("Device: pc-deny", toInit)
		m.WaitLine("Reason: Device pc-deny may not boot: the farm file says boot: deny.", toInit)
		m.WaitLine("It asks again every", toInit)
	})
	t.Run("local", func(t *testing.T) {
		m := l.For(t).Boot(vmlab.Hardware{})
		defer m.Kill()
		m.WaitLine(local, toInit)
		m.WaitLine(failed, toInit)
		m.WaitLine("No bootable device", toInit)
	})
}

// With overlay as its root a machine writes into memory above the disk, which is read only: the worker can die all the same.
func TestAMachineBootsWithAnOverlayAsItsRoot(t *testing.T) {
	l, _ := withFarm(t, vmlab.FarmOptions{Root: "overlay"})
	m := l.Boot(vmlab.Hardware{})
	settles(t, m)
	if out := m.MustRun("findmnt -no FSTYPE /", seconds); out != "overlay" {
		t.Errorf("the root is %s", out)
	}
	remember(t, m)
	workerKilled.on(t, m, 0)
	powersOff(t, m)
}

// Of two cards that both reach the servers the one that PXE used gets the address, though the kernel finds the other one first. A
// service of the system that configures all cards by DHCP, when it is started later, takes nothing away from the disk.
func TestTheDiskComesOverTheCardThatPXEUsed(t *testing.T) {
	l, _ := withFarm(t, vmlab.FarmOptions{})
	m := l.Boot(vmlab.Hardware{Second: true})
	settles(t, m)
	if out := m.MustRun("ls -d /sys/class/net/*/device | wc -l", seconds); out != "2" {
		t.Errorf("the system has %s cards", out)
	}
	if out := m.MustRun("for c in $(ip -4 -o addr show scope global | tr -s ' ' | cut -d' ' -f2); do cat /sys/class/net/$c/address; done", seconds); out != m.MAC {
		t.Errorf("%s have addresses, PXE used %s", out, m.MAC)
	}
	remember(t, m)
	out := m.MustRun(`printf '[Match]\nType=ether\n[Network]\nDHCP=yes\n' > /etc/systemd/network/50-all.network; systemctl start systemd-networkd; `+
		`/lib/systemd/systemd-networkd-wait-online --any --timeout=20; networkctl --no-pager --no-legend list; systemctl is-active systemd-networkd`, time.Minute)
	t.Log(out)
	if !strings.HasSuffix(out, "\nactive") {
		t.Error("the network service does not run")
	}
	fresh(t, m, 0)
	check(t, m)
}
