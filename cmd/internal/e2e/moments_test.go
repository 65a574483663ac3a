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
