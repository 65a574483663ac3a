//go:build !race

package engine

import (
	"testing"
	"time"
)

// bottleneck is one server whose link is the narrowest part of the way to all
// targets: rate in bytes a second, base round trip.
func bottleneck(t *testing.T, seed uint64, targets int, rate float64, trip time.Duration) (*world, *simServer) {
	w := newWorld(t, seed)
	s := w.addServer("lab-a")
	s.disk = func() time.Duration { return 50 * time.Microsecond }
	s.e.up = link{rate: rate, limit: 8 << 20}
	for range targets {
		c := w.addClient(32, 16, -1)
		c.e.up.delay, c.e.down.delay = trip/2, trip/2
		c.e.most = 1472
		w.after(w.draw(20*time.Millisecond), c.start)
	}
	return w, s
}

// goodput is what a target gets over a link of 100 Mbit/s and 50 ms with random
// loss, in bytes a second, and for how long it gets nothing at worst.
func goodput(t *testing.T, seed uint64, loss float64) (rate float64, pause time.Duration) {
	w, _ := bottleneck(t, seed, 1, 12.5e6, 50*time.Millisecond)
	c := w.clients[0]
	c.e.loss = loss
	w.run(3*time.Second, nil)
	c.mark()
	const measured = 6
	w.run(measured*time.Second, nil)
	pause = max(c.longest, c.pause())
	return float64(c.mark()) / measured, pause
}

// Loss at random is not congestion: at 5 % a target keeps 0.6 of what it gets
// without loss, at 20 % it makes progress every second, and every byte is right.
func TestGoodputUnderRandomLoss(t *testing.T) {
	for seed := range uint64(2) {
		clean, _ := goodput(t, seed+1, 0)
		if clean < 0.85*12.5e6 {
			t.Errorf("seed %d: without loss it gets %.2f MB/s of 12.5", seed+1, clean/1e6)
		}
		some, _ := goodput(t, seed+1, 0.05)
		if some < 0.6*clean {
			t.Errorf("seed %d: at 5 %% loss it gets %.2f of what it gets without", seed+1, some/clean)
		}
		much, pause := goodput(t, seed+1, 0.20)
		if pause > time.Second {
			t.Errorf("seed %d: at 20 %% loss nothing comes for %v", seed+1, pause)
		}
		t.Logf("seed %d: %.2f MB/s, %.2f of it at 5 %% loss, %.2f at 20 %% with pauses of up to %v", seed+1, clean/1e6, some/clean, much/clean, pause)
	}
}

// jain is Jain's index of fairness: 1 when all are equal.
func jain(shares []int) float64 {
	var sum, squares float64
	for _, n := range shares {
		sum += float64(n)
		squares += float64(n) * float64(n)
	}
	return sum * sum / (squares * float64(len(shares)))
}

// Eight targets share a bottleneck fairly and keep its queue short, on a far
// network and on a near one, also when some of them come late; be it a switch
// on the way or the server's own link.
func TestTargetsShareABottleneck(t *testing.T) {
	far := sharing{rate: 12.5e6, trip: 50 * time.Millisecond, lasts: 20 * time.Second, measured: 19 * time.Second}
	near := sharing{rate: 125e6, trip: 500 * time.Microsecond, lasts: 2 * time.Second, measured: 1900 * time.Millisecond}
	for _, c := range []struct {
		name string
		sharing
		late    time.Duration
		lasts   time.Duration
		trunk   bool
		targets int
	}{
		{"100 Mbit/s and 50 ms", far, 0, 0, true, 8},
		{"100 Mbit/s and 50 ms, four come late", far, 3 * time.Second, 13 * time.Second, true, 8},
		{"100 Mbit/s and 50 ms, the server's own link", far, 0, 0, false, 8},
		{"1 Gbit/s and 0.5 ms", near, 0, 0, true, 8},
		{"1 Gbit/s and 0.5 ms, four come late", near, 200 * time.Millisecond, time.Second, true, 8},
		{"1 Gbit/s and 0.5 ms, the server's own link", near, 0, 0, false, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.sharing.late, c.sharing.trunk = c.late, c.trunk
			c.sharing.lasts += c.lasts
			c.sharing.test(t)
		})
	}
}

// sharing is a bottleneck and how it is shared.
type sharing struct {
	rate     float64 // bytes a second
	trip     time.Duration
	late     time.Duration // between the first four targets and each of the others
	lasts    time.Duration
	measured time.Duration // of it, at the end
	trunk    bool          // the bottleneck is a switch behind the server
}

func (c sharing) test(t *testing.T) {
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	s.disk = func() time.Duration { return 50 * time.Microsecond }
	s.e.up = link{rate: c.rate, limit: 8 << 20}
	var trunk *link
	if c.trunk {
		s.e.up.rate *= 10
		trunk = &link{rate: c.rate, limit: 8 << 20}
	}
	for i := range 8 {
		v := w.addClient(32, 16, -1)
		v.e.up.delay, v.e.down.delay, v.e.trunk, v.e.most = c.trip/2, c.trip/2, trunk, 1472
		start := w.draw(20 * time.Millisecond)
		if i >= 4 {
			start += time.Duration(i-3) * c.late
		}
		w.after(start, v.start)
	}
	w.run(c.lasts-c.measured, nil)
	for _, v := range w.clients {
		v.mark()
	}
	if trunk != nil {
		trunk.queueing()
	}
	w.run(c.measured, nil)
	var shares []int
	total := 0
	for _, v := range w.clients {
		n := v.mark()
		shares = append(shares, n)
		total += n
	}
	var queue time.Duration // at the server's own link it is the server's, where each waits for his own only
	if trunk != nil {
		queue = trunk.queueing()
	}
	used := float64(total) / c.measured.Seconds() / c.rate
	index := jain(shares)
	t.Logf("Jain index %.3f, standing queue %v, %.2f of the rate; shares %v", index, queue, used, shares)
	if index < 0.9 {
		t.Errorf("Jain index %.3f", index)
	}
	if queue >= 2*c.trip {
		t.Errorf("the queue stands at %v, more than twice the round trip of %v", queue, c.trip)
	}
	if used < 0.8 {
		t.Errorf("only %.2f of the rate is used", used)
	}
}

// A target behind a slow link costs another one at full speed under 5 %.
func TestSlowTargetCostsOthersLittle(t *testing.T) {
	rates := [2]int{}
	for i := range rates {
		w := newWorld(t, 1)
		s := w.addServer("lab-a")
		s.e.up = link{rate: 12.5e6, limit: 4 << 20}
		fast := w.addClient(16, 16, -1)
		fast.e.up.delay, fast.e.down.delay = 500*time.Microsecond, 500*time.Microsecond
		fast.e.most = 1472
		fast.start()
		if i == 1 {
			slow := w.addClient(16, 16, -1)
			slow.e.most = 1472
			slow.e.up.delay, slow.e.down = 500*time.Microsecond, link{rate: 125e3, limit: 128 << 10, delay: 500 * time.Microsecond}
			slow.start()
		}
		w.run(time.Second, nil)
		fast.mark()
		w.run(4*time.Second, nil)
		rates[i] = fast.mark()
	}
	if rates[1] < rates[0]*95/100 {
		t.Errorf("%d bytes beside a slow target, %d alone", rates[1], rates[0])
	}
	t.Logf("%.3f of what it gets alone", float64(rates[1])/float64(rates[0]))
}

// What a target has asked for and not got never exceeds what its socket can hold, on a way that would take ten times as
// much, with loss, a slow disk and a change of servers.
func TestNoMoreIsAskedForThanTheSocketHolds(t *testing.T) {
	const most = 64 << 10
	w := newWorld(t, 1)
	for _, name := range []string{"lab-a", "lab-b"} {
		w.addServer(name).e.up = link{rate: 12.5e6, limit: 8 << 20}
	}
	c := w.addClient(32, 16, -1)
	c.e.up.delay, c.e.down.delay = 25*time.Millisecond, 25*time.Millisecond
	c.e.loss = 0.02
	c.c.cfg.MaxWindow, c.c.most = most, most
	c.start()
	peak, all := 0, 0
	var look func()
	look = func() {
		busy, pending := 0, 0
		for _, p := range c.c.paths {
			busy += p.outstanding - p.pending
			pending += p.pending
		}
		peak, all = max(peak, busy), max(all, busy+pending)
		w.after(200*time.Microsecond, look)
	}
	look()
	w.run(3*time.Second, nil)
	if n := c.mark(); n < most*10 {
		t.Errorf("%d bytes came", n)
	}
	c.serving().stop(5 * time.Second)
	w.run(2*time.Second, nil)
	if peak > most+2*leastPiece || peak < most/2 { // each way has something under way
		t.Errorf("%d bytes were under way, allowed %d", peak, most)
	}
	s := c.serving()
	s.disk = func() time.Duration { return w.draw(50 * time.Millisecond) }
	w.run(2*time.Second, nil)
	w.servers[0].front.Start()
	s.crash()
	w.run(2*time.Second, nil)
	if all > 2*(most+leastPiece) || all <= most {
		t.Errorf("%d bytes were under way or pending, allowed %d", all, 2*most)
	}
	if c.mark() == 0 || len(c.moves) < 2 {
		t.Errorf("%d moves", len(c.moves))
	}
}
