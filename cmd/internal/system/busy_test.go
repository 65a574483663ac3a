//go:build timed

package system

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

const (
	// busyTime is how long the machine is busy, unless the environment variable BUSY names another time: 5m is the figure.
	busyTime  = 60 * time.Second
	busyLoops = 4
)

// Targets that read on a machine with more work than CPUs stay where they are: slowness is not death.
func TestABusyMachineCausesNoFailover(t *testing.T) {
	length := busyTime
	if s := os.Getenv("BUSY"); s != "" {
		var err error
		length, err = time.ParseDuration(s)
		ok(t, err)
	}
	f := startFarm(t, lab.Options{Servers: 2})
	var targets []*lab.Target
	var readers []*busyReader
	for _, name := range []string{"t1", "t2", "t3", "t4"} {
		target := attach(t, f, name)
		targets = append(targets, target)
		readers = append(readers, readAllTheTime(t, target))
	}
	for range busyLoops {
		start(t, lab.Spawn{Name: "loop", Args: []string{"sh", "-c", "while :; do :; done"}})
	}
	time.Sleep(length)
	for i, target := range targets {
		s, err := target.Status(soon(t))
		ok(t, err)
		t.Logf("%s: %d MB read, longest read %s, longest pause by its own account %s", target.Name, readers[i].read()>>20,
			readers[i].end().Round(time.Millisecond), s.Pause.Round(time.Millisecond))
		if s.Failovers > 0 || s.Errors > 0 {
			t.Errorf("%s: %d failovers, %d errors\n%s", target.Name, s.Failovers, s.Errors, strings.TrimSpace(target.Out.String()))
		}
	}
}
