package simtest

import (
	"slices"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/stream/engine"
)

// two servers hold identical replicas.
var two = []func() (string, error){replica, replica}

// When the server that serves all targets goes, no read stands still for longer than it may: exactly, by the clock of the
// machines. When it is back, the next one to go is the one that has taken over.
func TestReadsStandStillNoLongerThanTheyMay(t *testing.T) {
	for _, trouble := range []struct {
		name    string
		bound   time.Duration
		reasons []engine.Reason
		happens func(s *server) (back func())
	}{
		{"planned stop", 10 * time.Millisecond, []engine.Reason{engine.ReasonGoingAway}, stopStream},
		{"killed", 100 * time.Millisecond, []engine.Reason{engine.ReasonSilent}, func(s *server) func() { s.kill(); return s.start }},
		// The new program's word that it knows no such session is a hint: the target may act on it, or on the silence.
		{"killed and started at once", 100 * time.Millisecond, []engine.Reason{engine.ReasonRestarted, engine.ReasonSilent},
			func(s *server) func() { s.kill(); s.start(); return func() {} }},
		{"silent", 300 * time.Millisecond, []engine.Reason{engine.ReasonSilent}, (*server).silence},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			inBubble(t, 1, two, func(w *world) {
				for range 3 {
					w.attach()
				}
				gather(w, w.servers[0])
				var longest time.Duration
				for range 2 {
					w.calm()
					s := w.targets[0].serving()
					back := trouble.happens(s)
					time.Sleep(400 * time.Millisecond)
					for i, g := range w.targets {
						took, moves := g.since()
						longest = max(longest, took)
						if took > trouble.bound {
							t.Errorf("target %d: a read stood still for %v, more than %v", i, took, trouble.bound)
						}
						if len(moves) != 1 || moves[0].From != s.name || !slices.Contains(trouble.reasons, moves[0].Reason) || moves[0].Pause > took {
							t.Errorf("target %d: a read took %v, moves %+v", i, took, moves)
						}
					}
					back()
					w.refresh()
					time.Sleep(200 * time.Millisecond)
				}
				t.Logf("longest read %v, allowed %v", longest, trouble.bound)
			})
		})
	}
}

// stopStream stops the stream service as the console does, and checks what the console is told.
func stopStream(s *server) (back func()) {
	t := s.w.t
	p, err := s.farm.StopStream(t.Context(), farm.StopRequest{Server: s.name, Force: true, Deadline: time.Second}, nil)
	if err != nil || p.Moved != len(s.w.targets) || p.Left != 0 || !p.Done {
		t.Errorf("stop of %s: %+v, %v", s.name, p, err)
	}
	return func() { ok(t, s.farm.StartStream(t.Context(), s.name)) }
}

// gather moves all targets to one server.
func gather(w *world, to *server) {
	for _, s := range w.servers {
		if s != to {
			p, err := s.farm.StopStream(w.t.Context(), farm.StopRequest{Server: s.name, Force: true, Deadline: time.Second}, nil)
			if err != nil || p.Left != 0 {
				w.t.Fatalf("stop of %s: %+v, %v", s.name, p, err)
			}
			ok(w.t, s.farm.StartStream(w.t.Context(), s.name))
		}
	}
	w.refresh()
}

// calm lets targets read undisturbed for a while, and forgets what was before.
func (w *world) calm() {
	time.Sleep(200 * time.Millisecond)
	for _, g := range w.targets {
		g.since()
	}
}

// While the server that serves them cannot read its store, targets are served by the other one. When none can, reads wait
// and none fails; they go on when a store is back.
func TestReadsWaitForAStoreThatIsGone(t *testing.T) {
	inBubble(t, 1, two, func(w *world) {
		for range 2 {
			w.attach()
		}
		gather(w, w.servers[0])
		a, b := w.servers[0], w.servers[1]
		w.calm()
		a.broken.Store(true)
		time.Sleep(500 * time.Millisecond)
		for i, g := range w.targets {
			if took, moves := g.since(); took > 10*time.Millisecond || len(moves) != 1 || moves[0].Reason != engine.ReasonStoreGone {
				t.Errorf("target %d, one store gone: a read took %v, moves %+v", i, took, moves)
			}
		}
		b.broken.Store(true)
		time.Sleep(20 * time.Millisecond)
		before := w.read()
		time.Sleep(10 * time.Second)
		if w.read() != before {
			t.Errorf("%d bytes were read while both stores were gone", w.read()-before)
		}
		b.broken.Store(false)
		time.Sleep(2 * time.Second)
		if w.read() == before {
			t.Error("nothing is read after a store has come back")
		}
		a.broken.Store(false)
		w.calm()
	})
}

// The only server that is left holds another import of the same disk: identical bytes, another timestamp. It serves nobody
// who has begun with the first one. Reads wait for that one.
func TestAnotherReplicaIsNoSubstitute(t *testing.T) {
	inBubble(t, 1, []func() (string, error){replica, replica, imported}, func(w *world) {
		c := w.servers[2]
		back := c.silence() // so that nobody begins with that one
		for range 2 {
			w.attach()
		}
		back()
		w.refresh()
		w.calm()
		w.servers[0].kill()
		w.servers[1].kill()
		time.Sleep(500 * time.Millisecond)
		before := w.read()
		time.Sleep(3 * time.Second)
		if n := len(c.stream.Sessions()); n > 0 || w.read() != before {
			t.Errorf("%d targets are with %s, and %d bytes were read", n, c.name, w.read()-before)
		}
		w.servers[1].start()
		time.Sleep(2 * time.Second)
		for i, g := range w.targets {
			if g.client.Snapshot().Server != "lab-b" {
				t.Errorf("target %d is with %q", i, g.client.Snapshot().Server)
			}
		}
		if w.read() == before {
			t.Error("nothing is read after a right server has come back")
		}
	})
}

// On a network that loses, doubles and reorders, every chunk of the disk is read right, and at a good rate.
func TestABadNetworkMakesNothingWrong(t *testing.T) {
	inBubble(t, 1, two, func(w *world) {
		bad := lan
		bad.Loss, bad.Duplicate, bad.Reorder, bad.ReorderBy = 0.02, 0.01, 0.02, 300*time.Microsecond
		w.net.Default().Set(bad)
		for range 2 {
			w.attach()
		}
		for i := range 10 {
			if w.read() >= int64(len(w.targets))*diskSize {
				t.Logf("read in %d ms", i*100)
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		for i, g := range w.targets {
			snap := g.client.Snapshot()
			if g.bytes.Load() < diskSize || snap.Failovers > 0 || snap.Lost == 0 {
				t.Errorf("target %d: %d bytes in 1 s, %+v", i, g.bytes.Load(), snap)
			}
		}
	})
}

// A version that appears in the stores is what a target gets that logs in two seconds later. Who uses the one before goes on
// with that, also when the server changes.
func TestANewVersionIsForThoseWhoLogInThen(t *testing.T) {
	file, err := nextVersion()
	ok(t, err)
	inBubble(t, 1, two, func(w *world) {
		old := w.attach()
		for _, s := range w.servers {
			ok(t, lab.CopyTo(s.dir, file))
		}
		time.Sleep(2 * time.Second) // a look at the store, and a report
		fresh := w.attach()
		gather(w, w.servers[1])
		w.calm()
		w.servers[1].kill()
		time.Sleep(300 * time.Millisecond)
		for g, want := range map[*target]struct {
			number uint32
			size   int64
		}{old: {0, diskSize}, fresh: {1, 2 * diskSize}} {
			before := g.bytes.Load()
			time.Sleep(200 * time.Millisecond)
			snap := g.client.Snapshot()
			if snap.Disk.Number != want.number || g.device.Size() != want.size || snap.Server != "lab-a" || g.bytes.Load() == before {
				t.Errorf("want version %d: %+v, %d bytes read", want.number, snap, g.bytes.Load()-before)
			}
		}
	})
}
