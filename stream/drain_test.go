package stream

import (
	"context"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// A stop that is taken back leaves the target where it is, and a later one counts it again.
func TestStopThatIsTakenBack(t *testing.T) {
	f := startFarm(t, 1, 1<<20)
	c := f.client(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.WaitServing(ctx); err != nil {
		t.Fatal(err)
	}
	s := f.servers[0]
	asked, give := context.WithCancel(ctx)
	d := s.StopStream(asked, wire.AwayStopped, time.Minute, func(d Drained) {
		if d.Total > 0 {
			give()
		}
	})
	if d != (Drained{Total: 1, Left: 1}) || s.Streaming() {
		t.Errorf("after a stop that was given up: %+v, streaming %v", d, s.Streaming())
	}
	s.StartStream()
	if !s.Streaming() || !c.Snapshot().Serving {
		t.Errorf("streaming %v, serving %v", s.Streaming(), c.Snapshot().Serving)
	}
	d = s.StopStream(ctx, wire.AwayStopped, 100*time.Millisecond, nil)
	if d != (Drained{Total: 1, Left: 1}) {
		t.Errorf("the second stop: %+v", d)
	}
}
