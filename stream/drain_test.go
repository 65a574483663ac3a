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
	(&reader{t: t, c: c, image: f.image}).read(8, 1) // an answer to a sealed datagram: from here on the server counts this target
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

// Who completes a log-in when the deadline of a stop is over is told that it is, and not served on.
func TestLogInThatCompletesAfterTheStopIsClosed(t *testing.T) {
	f := startFarm(t, 1, 1<<20)
	c := f.client(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.WaitServing(ctx); err != nil {
		t.Fatal(err)
	}
	s := f.servers[0]
	late := s.table.all(nil)[0]
	d := &drain{s: s, reason: wire.AwayStopped, end: s.now()}
	if r := d.close(); r != (Drained{}) {
		t.Errorf("a stop without targets: %+v", r)
	}
	late.mu.Lock()
	d.sendAway(late, 0)
	s.release(late, nil)
	late.mu.Lock()
	defer late.mu.Unlock()
	if !late.session.Ended() {
		t.Error("it is served on")
	}
}
