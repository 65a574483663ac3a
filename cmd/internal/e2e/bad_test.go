//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/vmlab"
	"github.com/spate-project/spate/cmd/internal/vmtest"
	"github.com/spate-project/spate/vdisk"
)

// flip turns a bit in the middle of the kernel that a server's copy of the vDisk carries; the second time it turns it back.
func flip(t *testing.T, s *vmlab.Server) {
	t.Helper()
	system, err := vmtest.PrepareSystem(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(system.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Store(), vdisk.FileName(vmlab.VDisk, 0))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, kernel[:4096])
	if at < 0 {
		t.Fatalf("%s does not carry the kernel", path)
	}
	at += len(kernel) / 2
	if _, err := f.WriteAt([]byte{whole[at] ^ 1}, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// A kernel that is damaged in every store is not booted: the machine says so, goes on asking, and boots when one copy is good
// again, whether the script that it has names that server first or last.
func TestADamagedKernelIsNotBootedAndAGoodOneIs(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	for _, s := range f.Servers {
		flip(t, s)
	}
	m := l.Boot(vmlab.Hardware{})
	m.WaitLine("no server gave kernel and boot image of debian@0", toInit)
	out, _ := f.Servers[0].Spate(vmlab.Within(t, seconds), "explain", m.MAC)
	t.Logf("explain:\n%s", out)
	if !strings.Contains(out, "is damaged") {
		t.Errorf("explain does not say what is wrong:\n%s", out)
	}
	m.WaitLine("Reason: ", toInit)
	flip(t, f.Servers[1])
	m.WaitMark("init ", toInit)
}

// A machine whose servers are all gone waits and says so, before it has its kernel and after, and boots when one is back. Nothing
// offers it a shell. Firmware that gives up says so too; then it takes a reset.
func TestAMachineWaitsForServersThatAreAllGone(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	for _, c := range []struct {
		when, begins string // begins: what it says when they die; MAC is its address in a script's name. Empty: they are dead before
		says         string
		reset        bool
	}{
		{"at power-on", "", "No bootable device", true},
		{"without a kernel", "script/MAC... ok", "trying again", false},
		{"without a disk", "init: spate-target", "no answer", false},
	} {
		t.Run(c.when, func(t *testing.T) {
			tap, err := l.Cable()
			if err != nil {
				t.Fatal(err)
			}
			if err := tap.Rate(50); err != nil { // slow enough to die before the kernel is there
				t.Fatal(err)
			}
			revived := sync.OnceFunc(func() {
				for _, s := range f.Servers {
					if !s.Running() {
						revive(t, s)
					}
				}
			})
			defer revived() // for the next one
			if c.begins == "" {
				killAll(f)
			}
			m := l.For(t).BootOn(tap, vmlab.Hardware{Reboot: true})
			defer m.Kill()
			if c.begins != "" {
				m.WaitLine(strings.ReplaceAll(c.begins, "MAC", strings.ReplaceAll(m.MAC, ":", "-")), toInit)
				killAll(f)
			}
			m.WaitLine(c.says, toInit)
			if err := m.Type("\n"); err != nil { // no shell comes of that
				t.Error(err)
			}
			<-time.After(10 * time.Second) // and goes on waiting
			revived()
			if c.reset {
				if err := m.Reset(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			m.WaitMark("init ", toInitProxy)
			settles(t, m)
			if strings.Contains(m.All(), "opens a shell") || strings.Contains(m.All(), "exit leaves it") {
				t.Error("there was a shell")
			}
		})
	}
}

func killAll(f *vmlab.Farm) {
	for _, s := range f.Servers {
		s.Kill()
	}
}

// oddFarm makes a farm whose vDisk is empty and has a boot image of its own.
func oddFarm(t *testing.T, image func(t *testing.T, dir, spate string, system vmtest.System) string) *vmlab.Lab {
	t.Helper()
	l := vmlab.New(t)
	made, err := build()
	if err != nil {
		t.Fatal(err)
	}
	system, err := vmtest.PrepareSystem(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir, spate := t.TempDir(), filepath.Join(made.bin, "spate")
	empty := filepath.Join(dir, "disk")
	if err := os.WriteFile(empty, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Run(t.Context(), spate, "vdisk", "import", empty, "--into", dir, "--name", vmlab.VDisk, "--kernel", system.Kernel,
		"--boot-image", image(t, dir, spate, system), "--command-line", vmlab.CommandLine); err != nil {
		t.Fatal(err)
	}
	l.Farm(vmlab.FarmOptions{Bin: made.bin, Disk: filepath.Join(dir, vdisk.FileName(vmlab.VDisk, 0)), Shell: true})
	return l
}

// A card that the boot image has no driver for is named as lspci names it, with what to do; a shell is had where the farm file
// allows it and the boot image has one.
func TestACardWithoutADriverIsNamedOnTheConsole(t *testing.T) {
	l := oddFarm(t, func(t *testing.T, dir, spate string, system vmtest.System) string {
		image := filepath.Join(dir, "boot.img")
		if _, err := lab.Run(t.Context(), spate, "bootimage", "build", "--modules", filepath.Join(system.Tree, "lib", "modules", system.Version),
			"--cards", "virtio_net,virtio_pci", "--add", "/bin/busybox:/bin/busybox", "--out", image); err != nil {
			t.Fatal(err)
		}
		return image
	})
	m := l.Boot(vmlab.Hardware{Card: "e1000"})
	m.WaitLine("network card 8086:100e in slot", toInit)
	m.WaitLine("there is no network card at all", toInit)
	if err := m.Type("\n"); err != nil {
		t.Fatal(err)
	}
	m.WaitLine("exit leaves it", toInit)
	if err := m.Type("echo $((6*7)) is the answer\n"); err != nil {
		t.Fatal(err)
	}
	m.WaitLine("42 is the answer", toInit)
}

// A boot image that was damaged before it was sealed is the kernel's to refuse: it says so, and with panic= the machine starts anew.
func TestABootImageThatTheKernelCannotUnpackIsTold(t *testing.T) {
	l := oddFarm(t, func(t *testing.T, dir, _ string, _ vmtest.System) string {
		image := filepath.Join(dir, "boot.img")
		if err := os.WriteFile(image, append([]byte("\x28\xb5\x2f\xfd"), bytes.Repeat([]byte("damage"), 1000)...), 0o644); err != nil {
			t.Fatal(err)
		}
		return image
	})
	m := l.Boot(vmlab.Hardware{})
	m.WaitLine("Initramfs unpacking failed", toInit)
	m.WaitLine("Kernel panic", toInit)
	if err := m.AwaitEnd(vmlab.Within(t, toInit)); err != nil {
		t.Error(err)
	}
}
