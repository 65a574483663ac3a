//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
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

// Before it has its script a machine boots from another server after the firmware's own retry, or after one reset.
func TestAMachineBootsWhenOneServerIsDeadAtPowerOn(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	for _, dead := range f.Servers {
		t.Run(dead.Name, func(t *testing.T) {
			dead.Kill()
			m := l.For(t).Boot(vmlab.Hardware{})
			m.WaitMark("init ", toInit)
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
