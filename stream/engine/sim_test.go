package engine

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

var (
	flagSeeds = flag.Int("seeds", fromEnv("SEEDS", simulationSeeds), "how many seeds TestSimulation tries")
	flagSeed  = flag.Int("seed", fromEnv("SEED", 1), "the first of them")
)

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// Whatever befalls a farm, every byte is right, no read fails that could be
// answered, and every target finishes once it is calm.
func TestSimulation(t *testing.T) {
	seeds := *flagSeeds
	if testing.Short() {
		seeds = min(seeds, 30)
	}
	for i := range seeds {
		simulate(t, uint64(*flagSeed+i), seeds == 1)
	}
}

// simulate plays one seed as a test of its own.
func simulate(t *testing.T, seed uint64, verbose bool) {
	t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		t.Parallel()
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("replay: go test ./stream/engine -run 'TestSimulation$' -v -args -seeds 1 -seed %d", seed)
			}
		})
		w := newWorld(t, seed)
		w.verbose = verbose
		newScript(w).play()
	})
}

// Seeds that found something once. What they found has a test of its own beside
// them, since a seed plays something else when the script that draws changes.
func TestSimulationOfSeedsThatFoundBugs(t *testing.T) {
	for _, seed := range []uint64{
		7,     // going over paths that came and went meanwhile: a nil path
		59,    // a fetch of nothing never came back
		77,    // a flight without reads was answered once: TestFlightWithoutReadsIsAnsweredEachTime
		138,   // a flight was sent again too rarely when its server came back late
		197,   // a round trip across the target's own standstill: TestRoundTripAcrossAStandstillIsNoSample
		206,   // a read that only a server could bring that came back waited for its next turn
		242,   // a store that was back was not looked at while another server refused: TestStoreThatIsGone
		51304, // a server that was stopped for half a second was not asked again for five
	} {
		simulate(t, seed, false)
	}
}

// A target reads every byte right over a clean network.
func TestReadsAreRightOnACleanNetwork(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	s.e.up.delay, s.e.down.delay = 100*time.Microsecond, 100*time.Microsecond
	c := w.addClient(4, 8, 200)
	c.start()
	if !w.run(20*time.Second, w.allFinished) {
		t.Fatalf("not finished: %d done, %d open, %+v", c.done, c.open, c.c.Snapshot())
	}
}
