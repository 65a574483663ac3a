package engine

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// world is a farm in one goroutine: servers, targets, links and disks, with a
// clock that jumps from event to event. All that happens follows from the seed.
type world struct {
	t        testing.TB
	seed     uint64
	now      Instant
	rng      *rand.Rand
	queue    eventQueue
	order    uint64
	still    int // events without time passing: a loop
	farm     *secure.Farm
	image    *simImage
	servers  []*simServer
	clients  []*simClient
	byAddr   map[netip.AddrPort]node
	counters map[[8]byte]uint64 // of each key: the next one that may be sealed
	flights  map[[8]byte][]byte // of each key: the one datagram that it sealed
	walls    map[way]int        // ways on which nothing passes, and how many troubles say so
	record   func(from, to netip.AddrPort, b []byte)
	told     []string // the last things that happened, for failures
	verbose  bool
}

type node interface {
	arrive(from netip.AddrPort, b []byte)
	ends() *ends
}

// ends are the two directions of a node's access link and its troubles.
type ends struct {
	addr     netip.AddrPort
	up, down link
	trunk    *link   // a link that it shares with others, before its own down link
	loss     float64 // of each datagram, each way
	dup      float64
	jitter   time.Duration // random extra delay: reordering
	cut      bool          // nothing passes
	most     int           // longer datagrams vanish; 0: none do
}

// way is one direction between two nodes.
type way struct{ from, to *ends }

// link is a queue with a rate.
type link struct {
	rate   float64 // bytes a second, 0: unlimited
	delay  time.Duration
	limit  int // bytes in the queue, 0: unlimited
	freeAt Instant
	sum    time.Duration // time spent in the queue
	n      int
	bytes  int
	drops  int
}

// pass says when a datagram of n bytes that enters now leaves at the other end.
func (l *link) pass(now Instant, n int) (Instant, bool) {
	start := later(now, l.freeAt)
	if wait := start.Sub(now); l.rate > 0 {
		if l.limit > 0 && wait.Seconds()*l.rate+float64(n) > float64(l.limit) {
			l.drops++
			return 0, false
		}
		l.sum += wait
		start = start.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
		l.freeAt = start
	}
	l.n++
	l.bytes += n
	return start.Add(l.delay), true
}

// queueing is the mean time in the queue since the last call.
func (l *link) queueing() time.Duration {
	mean := l.sum / time.Duration(max(l.n, 1))
	l.sum, l.n, l.bytes = 0, 0, 0
	return mean
}

type event struct {
	at    Instant
	order uint64
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

func (w *world) at(t Instant, do func()) {
	w.order++
	heap.Push(&w.queue, event{later(t, w.now), w.order, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

// run steps until done says so or the time is over.
func (w *world) run(limit time.Duration, done func() bool) bool {
	end := w.now.Add(limit)
	for len(w.queue) > 0 && w.queue[0].at <= end {
		if done != nil && done() {
			return true
		}
		e := heap.Pop(&w.queue).(event)
		if e.at > w.now {
			w.still = 0
		}
		if w.still++; w.still > 1<<17 {
			w.fail("time stands still")
		}
		w.now = e.at
		e.do()
	}
	if done != nil && done() {
		return true
	}
	w.now = end
	return false
}

// trace notes what happens.
func (w *world) trace(format string, args ...any) {
	line := fmt.Sprintf("%9.3f ms  %s", float64(w.now-worldBegins)/1e6, fmt.Sprintf(format, args...))
	if w.verbose {
		w.t.Log(line)
	}
	if w.told = append(w.told, line); len(w.told) > 400 {
		w.told = append(w.told[:0], w.told[200:]...)
	}
}

// fail ends the world with what happened last.
func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	if !w.verbose {
		for _, line := range w.told[max(0, len(w.told)-40):] {
			w.t.Log(line)
		}
	}
	w.t.Fatalf("seed %d, at %.3f ms: %s", w.seed, float64(w.now-worldBegins)/1e6, fmt.Sprintf(format, args...))
}

// seededReader is a reader of reproducible bytes.
type seededReader struct{ *rand.ChaCha8 }

const worldBegins = Instant(time.Hour)

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5b47e)), byAddr: map[netip.AddrPort]node{},
		counters: map[[8]byte]uint64{}, flights: map[[8]byte][]byte{}, walls: map[way]int{},
		now: worldBegins,
	}
	var secret [32]byte
	binary.LittleEndian.PutUint64(secret[:], seed+1)
	w.farm = secure.NewFarm(secret)
	w.image = newSimImage(w.rng, 512)
	return w
}

func (w *world) reader() seededReader {
	var s [32]byte
	for i := range 4 {
		binary.LittleEndian.PutUint64(s[8*i:], w.rng.Uint64())
	}
	return seededReader{rand.NewChaCha8(s)}
}

// overhead of IP and UDP on each datagram.
const overhead = 28

// send carries one datagram from node to node.
func (w *world) send(from *ends, to netip.AddrPort, b []byte) {
	if w.record != nil {
		w.record(from.addr, to, b)
	}
	leave, ok := from.up.pass(w.now, len(b)+overhead)
	n := w.byAddr[to]
	if !ok || n == nil || from.cut || w.walls[way{from, n.ends()}] > 0 || from.most > 0 && len(b) > from.most || w.chance(from.loss) {
		return
	}
	w.deliver(from.addr, n, b, leave, from.dup, from.jitter)
}

// deliver takes a datagram from the middle of the network to a node.
func (w *world) deliver(from netip.AddrPort, n node, b []byte, leave Instant, dup float64, jitter time.Duration) {
	dst := n.ends()
	if dst.most > 0 && len(b) > dst.most || w.chance(dst.loss) {
		return
	}
	b = bytes.Clone(b)
	copies := 1
	if w.chance(dup + dst.dup) {
		copies = 2
	}
	for range copies {
		at := leave
		if j := jitter + dst.jitter; j > 0 && w.rng.IntN(4) == 0 {
			at = at.Add(time.Duration(w.rng.Int64N(int64(j))))
		}
		own := b
		if copies > 1 {
			own = bytes.Clone(b)
		}
		if dst.trunk == nil {
			w.at(at, func() { w.enter(from, n, own) })
			continue
		}
		w.at(at, func() {
			if behind, ok := dst.trunk.pass(w.now, len(own)+overhead); ok {
				w.at(behind, func() { w.enter(from, n, own) })
			}
		})
	}
}

// enter takes a datagram over the last link to a node.
func (w *world) enter(from netip.AddrPort, n node, b []byte) {
	dst := n.ends()
	if arrive, ok := dst.down.pass(w.now, len(b)+overhead); ok && !dst.cut {
		w.at(arrive, func() { n.arrive(from, b) })
	}
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// once fails when a key seals under one counter twice: each key belongs to one
// sealer, which counts up.
func (w *world) once(key [8]byte, b []byte) {
	if kind, _ := wire.Peek(b); kind != wire.KindSealed && kind != wire.KindSealedFirst {
		return
	}
	counter := binary.LittleEndian.Uint64(b[8:])
	if next, used := w.counters[key]; used && counter < next {
		w.fail("key %x seals counter %d twice", key, counter)
	}
	w.counters[key] = counter + 1
}

// onceFlight fails when the key of a ticket flight seals two different things.
func (w *world) onceFlight(key [8]byte, b []byte) {
	sealed := b[:len(b)-wire.MACsSize]
	if was, used := w.flights[key]; used && !bytes.Equal(was, sealed) {
		w.fail("flight key %x seals two datagrams", key)
	}
	w.flights[key] = bytes.Clone(sealed)
}
