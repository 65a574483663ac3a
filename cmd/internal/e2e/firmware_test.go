//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/vmlab"
	"github.com/spate-project/spate/stream/wire"
)

// banner is in the first line that iPXE prints.
const banner = "Open Source Network Boot Firmware"

// Every kind of firmware boots from a farm that gives out addresses, with a processor that has instructions for AES and
// with one that has not.
func TestEveryFirmwareBoots(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	for _, h := range []vmlab.Hardware{
		{Name: "bios"},
		{Name: "bios-aes", CPU: "max"},
		{Name: "uefi-pxe", Firmware: vmlab.UEFI},
		{Name: "uefi-rom", Firmware: vmlab.UEFI, ROM: true},
		{Name: "uefi-http", Firmware: vmlab.UEFIHTTP},
	} {
		t.Run(h.Name, func(t *testing.T) {
			m := l.For(t).Boot(h)
			m.WaitMark("init ", toInitUEFI)
			settles(t, m)
			if !strings.Contains(m.All(), banner) {
				t.Error("iPXE has not said that it runs")
			}
			loadsTheFirstPart(t, f, m)
			if out := m.MustRun("grep -c -w aes /proc/cpuinfo; true", seconds); (out != "0") != (h.CPU == "max") {
				t.Errorf("%s processors with instructions for AES", out)
			}
			cipher := wire.CipherChaCha20Poly1305
			if h.CPU == "max" {
				cipher = wire.CipherAES256GCM
			}
			if out := m.MustRun(workerStatus, seconds); !strings.Contains(out, cipher.String()) {
				t.Errorf("what it reads is not sealed with %v:\n%s", cipher, out)
			}
			m.Kill()
		})
	}
}

// Beside the DHCP server of somebody else, who knows nothing of booting, the farm's proxyDHCP service is enough.
func TestMachinesBootByProxyDHCP(t *testing.T) {
	l := vmlab.New(t)
	l.DHCP()
	addFarm(t, l, vmlab.FarmOptions{DHCP: farm.DHCPProxy})
	for _, h := range []vmlab.Hardware{{Name: "bios"}, {Name: "uefi", Firmware: vmlab.UEFI}} {
		t.Run(h.Name, func(t *testing.T) {
			m := l.For(t).Boot(h)
			m.WaitMark("init ", toInitProxy)
			settles(t, m)
			m.Kill()
		})
	}
}

// A DHCP server of somebody else that names the farm's boot script is enough, too: everything comes by TFTP until iPXE
// has its script.
func TestAMachineBootsByTFTPFromSomebodyElsesDHCP(t *testing.T) {
	l := vmlab.New(t)
	f := addFarm(t, l, vmlab.FarmOptions{DHCP: farm.DHCPOff})
	if err := l.Advertise(); err != nil { // the farm hears too late of a machine to spare it the wait for one
		t.Fatal(err)
	}
	l.DHCP("--dhcp-option-force=encap:175,176,1b", "--dhcp-boot=boot.ipxe,,"+f.Servers[0].Link.Addr.String())
	m := l.Boot(vmlab.Hardware{})
	m.WaitLine("tftp://", toInit)
	m.WaitMark("init ", toInit)
	settles(t, m)
}

// Nor is that server needed any longer than until the script: the machine goes on with the lease that iPXE has got, and keeps it.
func TestAMachineBootsThoughItsDHCPServerHasDiedBehindTheScript(t *testing.T) {
	l := vmlab.New(t)
	link, err := l.Plug()
	if err != nil {
		t.Fatal(err)
	}
	dhcp, err := l.Network.DHCP(link)
	if err != nil {
		t.Fatal(err)
	}
	defer dhcp.Kill()
	addFarm(t, l, vmlab.FarmOptions{DHCP: farm.DHCPProxy})
	m := l.Boot(vmlab.Hardware{})
	m.WaitLine("Spate: "+vmlab.VDisk, toInitProxy)
	dhcp.Kill()
	m.WaitLine("DHCP, of the boot loader", toInit)
	m.WaitMark("init ", toInit)
	settles(t, m)
}

// What is not signed does not run under Secure Boot: a farm that is not set up for it sends iPXE, and the firmware refuses.
func TestAnUnsignedLoaderIsRefusedUnderSecureBoot(t *testing.T) {
	l, _ := withFarm(t, vmlab.FarmOptions{SecureBoot: false})
	m := l.Boot(vmlab.Hardware{Firmware: vmlab.SecureBoot, Memory: 1024})
	m.WaitLine("Access Denied", toInitSecure)
	if all := m.All(); !strings.Contains(all, "snponly.efi") || strings.Contains(all, banner) {
		t.Error("it was not iPXE that was refused, or iPXE runs")
	}
}
