//go:build system

package e2e

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// A machine whose server dies while it boots comes up all the same: one early, when the kernel is on its way, and one late.
func TestAMachineBootsThoughItsServerIsKilledOrFrozen(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	r := rand.New(rand.NewPCG(1, 1))
	for i, what := range []trouble{troubles[1], troubles[2]} {
		t.Run(what.name, func(t *testing.T) {
			bootsThrough(t, l.For(t), f, what, time.Duration(i)*bootTakes/2+moment(r)/2)
		})
	}
}
