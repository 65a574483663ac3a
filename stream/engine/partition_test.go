package engine

import (
	"testing"
	"time"
)

// wayBetween is the way between two nodes, for who keeps account of its troubles.
type wayBetween struct{ a, b *ends }

func between(c *simClient, v *simServer) wayBetween { return wayBetween{&c.e, &v.e} }

// sees tells whether two servers hear each other, as they find out by gossip.
func (s *simServer) sees(o *simServer) bool {
	return s.w.walls[way{&s.e, &o.e}] == 0 && s.w.walls[way{&o.e, &s.e}] == 0
}

// seen are the other servers that this one knows to be there.
func (s *simServer) seen() (list []*simServer) {
	for _, o := range s.w.servers {
		if o != s && s.sees(o) {
			list = append(list, o)
		}
	}
	return list
}

// tearDown opens every way from and to a node.
func (w *world) tearDown(e *ends) {
	for k := range w.walls {
		if k.from == e || k.to == e {
			delete(w.walls, k)
		}
	}
}

// partFromTargets closes the ways from all targets to a server, from it to them, or both.
func (w *world) partFromTargets(s *simServer, out, back bool) {
	for _, c := range w.clients {
		if out {
			w.walls[way{&c.e, &s.e}]++
		}
		if back {
			w.walls[way{&s.e, &c.e}]++
		}
	}
}

// wall closes one direction, for a while.
func (s *script) wall(from, to *ends, d time.Duration) {
	w := s.w
	w.walls[way{from, to}]++
	w.after(d, func() {
		if k := (way{from, to}); w.walls[k] > 1 {
			w.walls[k]--
		} else {
			delete(w.walls, k)
		}
	})
}

// part is a partition of the network: some nodes do not reach some others, in
// one direction or in both, and everybody else reaches all.
func (s *script) part(d time.Duration) {
	w := s.w
	out, back, half := true, true, w.rng.IntN(2) == 0
	switch w.rng.IntN(3) {
	case 0:
		out = false
	case 1:
		back = false
	}
	w.trace("the network falls apart for %v; towards servers: %v, from servers: %v, only some: %v", d, out, back, half)
	few := func() bool { return half && w.rng.IntN(2) == 0 }
	for _, v := range w.servers {
		if w.rng.IntN(2) == 0 {
			continue
		}
		for _, c := range w.clients {
			if few() {
				continue
			}
			w.trace("%s and %s", c.name, v.name)
			if out {
				s.wall(&c.e, &v.e, d)
			}
			if back {
				s.wall(&v.e, &c.e, d)
			}
			s.fall(between(c, v))
			s.rise(between(c, v), d, func() {})
		}
		for _, o := range w.servers {
			if o != v && !few() {
				w.trace("%s and %s", v.name, o.name)
				s.wall(&v.e, &o.e, d)
			}
		}
	}
}

// A target to which the names of the other servers were lost learns them a
// second later, and at once when it is asked to move.
func TestAlternatesThatWereLostAreNamedAgain(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		w := newWorld(t, 1)
		s, o := w.addServer("lab-a"), w.addServer("lab-b")
		c := w.addClient(1, 1, 0, s)
		c.e.up.delay, c.e.down.delay = 50*time.Microsecond, 50*time.Microsecond
		c.start()
		if !w.run(time.Second, func() bool { return c.c.serving }) {
			t.Fatal("no log-in")
		}
		w.walls[way{&s.e, &c.e}]++
		w.run(50*time.Millisecond, nil)
		w.tearDown(&s.e)
		w.run(100*time.Millisecond, nil)
		if c.serving() != s || len(c.c.servers) != 1 {
			t.Fatalf("served by %v, %d servers known", c.serving(), len(c.c.servers))
		}
		wait, done := statusSoon+10*time.Millisecond, func() bool { return len(c.c.servers) == 2 }
		if stopped {
			s.stop(30 * time.Second)
			wait, done = 50*time.Millisecond, func() bool { return c.serving() == o }
		}
		if !w.run(wait, done) {
			t.Errorf("stopped %v: %d servers known, moves %+v", stopped, len(c.c.servers), c.moves)
		}
	}
}
