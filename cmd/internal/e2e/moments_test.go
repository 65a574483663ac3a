//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

var (
	seed    = flag.Uint64("seed", 1, "which random moments")
	moments = flag.Int("moments", 10, "how many of each trouble")
)

// Once a machine has its script, the loss of any one server does not stop it, whenever it comes: at ten random moments from
// script to working system the serving server is stopped, killed, frozen, cut off.
func TestAMachineBootsWhateverHappensToItsServerAndWhen(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	r := rand.New(rand.NewPCG(*seed, 0))
	for _, what := range troubles {
		for i := range *moments {
			after := moment(r)
			t.Run(fmt.Sprintf("%s-%d", what.name, i), func(t *testing.T) {
				t.Logf("%.2f s after the script; -seed %d", after.Seconds(), *seed)
				bootsThrough(t, l.For(t), f, what, after)
			})
		}
	}
}

// A machine that is switched on while one server is dead boots from the other one: as if nothing were when no server knows it, and
// after a few seconds more when it is the dead one that has given it its address.
func TestAMachineBootsWhenOneServerIsDeadAtPowerOn(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	for i, h := range []vmlab.Hardware{{Name: "bios", Reboot: true}, {Name: "uefi", Firmware: vmlab.UEFI, Reboot: true}} {
		t.Run(h.Name, func(t *testing.T) {
			dead := f.Servers[i%len(f.Servers)]
			dead.Kill()
			m := l.For(t).Boot(h)
			defer m.Kill()
			m.WaitMark("init ", toInitUEFI)
			settles(t, m)
			revive(t, dead)

			dead = gave(t, f, m)
			dead.Kill()
			begin, off := m.Next(), m.Uptime()
			if err := m.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			line, _, err := m.AwaitLine(vmlab.Within(t, toInitUEFI), begin, "MARK init ")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("its address was from %s, which is dead: the root's init runs %.1f s after power-on", dead.Name, (line.At - off).Seconds())
			if _, _, err := m.AwaitLine(vmlab.Within(t, toSystem), begin, "MARK settled state=running failed=[]"); err != nil {
				t.Fatal(err)
			}
			healthy(t, m)
			revive(t, dead)
		})
	}
}

// revive starts a server that is dead, and waits until it answers machines.
func revive(t *testing.T, s *vmlab.Server) {
	t.Helper()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A server that dies between its answer by DHCP and the script costs as much time as the firmware takes to try again by itself,
// or to give up: then one press of the reset button.
func TestAMachineBootsWhenItsServerDiesBeforeTheScript(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	for _, c := range []struct {
		vmlab.Hardware
		givesUp string // what it says when it goes no further by itself
	}{
		{vmlab.Hardware{Name: "bios"}, "No bootable device"},
		{vmlab.Hardware{Name: "uefi", Firmware: vmlab.UEFI}, ""},
		{vmlab.Hardware{Name: "uefi-http", Firmware: vmlab.UEFIHTTP}, "failed to load Boot0001"},
	} {
		t.Run(c.Name, func(t *testing.T) {
			c.Reboot = true
			all(t, f, (*vmlab.Server).Deafen)
			m := l.For(t).Boot(c.Hardware)
			defer m.Kill()
			victim := gave(t, f, m)
			died := m.Uptime()
			if err := victim.Link.Drop(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := victim.Link.Pass(); err != nil {
					t.Error(err)
				}
			}()
			all(t, f, (*vmlab.Server).Hear)
			t.Logf("%s died %.1f s after power-on", victim.Name, died.Seconds())
			if c.givesUp != "" {
				m.WaitLine(c.givesUp, toInitUEFI)
				t.Logf("the firmware gave up %.1f s later", (m.Uptime() - died).Seconds())
				if err := m.Reset(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			at := m.WaitMark("init ", toInitSecure).At
			t.Logf("the root's init ran %.1f s after the death", (at - died).Seconds())
			settles(t, m)
		})
	}
}

// all does something to all servers.
func all(t *testing.T, f *vmlab.Farm, do func(*vmlab.Server) error) {
	t.Helper()
	for _, s := range f.Servers {
		if err := do(s); err != nil {
			t.Fatal(err)
		}
	}
}

// gave waits until a server has given a machine its address, and with it the name of its first file.
func gave(t *testing.T, f *vmlab.Farm, m *vmlab.Guest) *vmlab.Server {
	t.Helper()
	for limit := vmlab.Within(t, seconds); ; {
		for _, s := range f.Servers {
			for line := range strings.Lines(s.Log.String()) {
				if strings.Contains(line, m.MAC+", ") && strings.Contains(line, "takes an address: given") {
					return s
				}
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-limit.Done():
			t.Fatal(context.Cause(limit))
		}
	}
}
