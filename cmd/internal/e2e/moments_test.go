//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

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

// A machine that is switched on while one server is dead boots from the other one, as if nothing were.
func TestAMachineBootsWhenOneServerIsDeadAtPowerOn(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	for i, h := range []vmlab.Hardware{{Name: "bios"}, {Name: "uefi", Firmware: vmlab.UEFI}} {
		t.Run(h.Name, func(t *testing.T) {
			dead := f.Servers[i%len(f.Servers)]
			dead.Kill()
			m := l.For(t).Boot(h)
			m.WaitMark("init ", toInitUEFI)
			settles(t, m)
			m.Kill()
			if err := dead.Start(); err != nil {
				t.Fatal(err)
			}
			if err := dead.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A server that dies after its answer by DHCP and before the machine has its script costs time, as much as the firmware
// takes to try again or to give up, and at most one reset.
func TestAMachineBootsWhenItsServerDiesBeforeTheScript(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	for _, c := range []struct {
		vmlab.Hardware
		asks string // what firmware prints when it asks for its first file
	}{
		{vmlab.Hardware{Name: "bios"}, "/script/"},
		{vmlab.Hardware{Name: "uefi", Firmware: vmlab.UEFI}, "NBP filename is"},
		{vmlab.Hardware{Name: "uefi-http", Firmware: vmlab.UEFIHTTP}, "URI: "},
	} {
		t.Run(c.Name, func(t *testing.T) {
			for _, s := range f.Servers {
				if err := s.Deafen(); err != nil {
					t.Fatal(err)
				}
			}
			c.Reboot = true
			m := l.For(t).Boot(c.Hardware)
			defer m.Kill()
			m.WaitLine(c.asks, toInitUEFI)
			victim := lastNamed(t, f, m.All())
			died := m.Uptime()
			if err := victim.Link.Drop(); err != nil {
				t.Fatal(err)
			}
			for _, s := range f.Servers {
				if err := s.Hear(); err != nil {
					t.Fatal(err)
				}
			}
			defer func() {
				if err := victim.Link.Pass(); err != nil {
					t.Error(err)
				}
			}()
			at := m.WaitMark("init ", toInitSecure).At
			t.Logf("%s died after %.1f s; the root's init runs %.1f s later", victim.Name, died.Seconds(), (at - died).Seconds())
		})
	}
}

// lastNamed is the server whose address was the last one that a console showed.
func lastNamed(t *testing.T, f *vmlab.Farm, console string) (last *vmlab.Server) {
	t.Helper()
	at := -1
	for _, s := range f.Servers {
		for _, end := range []string{":", "\n", "/"} {
			if i := strings.LastIndex(console, s.Link.Addr.String()+end); i > at {
				last, at = s, i
			}
		}
	}
	if last == nil {
		t.Fatalf("the console names no server:\n%s", console)
	}
	return last
}
