package engine

import (
	"testing"
	"time"
)

// A target reads every byte right over a clean network.
func TestReadsAreRightOnACleanNetwork(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	s.e.up.delay, s.e.down.delay = 100*time.Microsecond, 100*time.Microsecond
	c := w.addClient(4, 8, 200)
	w.trace = t.Logf
	c.start()
	if !w.run(20*time.Second, w.allFinished) {
		t.Fatalf("not finished: %d done, %d open, %+v", c.done, c.open, c.c.Snapshot())
	}
	t.Logf("%d bytes in %v, %+v", c.got, w.now.Sub(Instant(time.Hour)), c.c.stats)
}
