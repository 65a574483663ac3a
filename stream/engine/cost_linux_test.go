//go:build !race

package engine

import (
	"syscall"
	"testing"
	"time"
)

// seedCost is what one simulated farm may cost, so that thousands of seeds stay affordable.
const seedCost = 800 * time.Millisecond

// A seed of the simulation costs little of the processor's time.
func TestASeedCostsLittle(t *testing.T) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for seed := range uint64(8) {
		before := used()
		newScript(newWorld(t, seed+1)).play()
		if cost := used() - before; cost > seedCost {
			t.Errorf("seed %d costs %v of the processor's time, more than %v", seed+1, cost, seedCost)
		}
	}
}
