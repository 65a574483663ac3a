package engine

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// model is what a fetch should be: one bit a byte.
type model struct {
	answer []byte
	got    []bool
	total  int
}

// check compares a fetch with its model, and its asks with what their paths believe to be under way.
func (m *model) check(t *testing.T, f *Fetch, paths []*path) {
	t.Helper()
	missing := make([]bool, len(f.Buf))
	last := 0
	sums := map[*path][3]int{}
	for i := range f.asks {
		a := &f.asks[i]
		if a.from >= a.to || a.from < last || a.to > f.asked {
			t.Fatalf("ask %d is [%d, %d) behind %d of %d asked", i, a.from, a.to, last, f.asked)
		}
		if (a.path == nil) != (a.state == askDue) {
			t.Fatalf("ask %d in state %d on path %p", i, a.state, a.path)
		}
		last = a.to
		for j := a.from; j < a.to; j++ {
			missing[j] = true
		}
		if a.path != nil {
			s := sums[a.path]
			s[0] += a.size()
			s[1]++
			if a.state == askPending {
				s[2] += a.size()
			}
			sums[a.path] = s
		}
	}
	if len(f.asks) > maxAsks {
		t.Fatalf("%d asks", len(f.asks))
	}
	for j := range m.got {
		if j < f.asked && !missing[j] && !m.got[j] {
			t.Fatalf("byte %d counts as received and is not", j)
		}
		if j < f.asked && !missing[j] && f.Buf[j] != m.answer[j] {
			t.Fatalf("byte %d is wrong", j)
		}
	}
	for _, p := range paths {
		if s := sums[p]; p.outstanding != s[0] || p.asks != s[1] || p.pending != s[2] {
			t.Fatalf("a path counts %d bytes, %d asks, %d pending; there are %v", p.outstanding, p.asks, p.pending, s)
		}
	}
	if f.done() != (f.settled && f.asked >= f.limit && len(f.asks) == 0) {
		t.Fatal("done")
	}
}

// Whatever two servers send of an answer, in whichever order and pieces, also more than once: the fetch has the bytes that came and
// knows those that are missing, and what counts as under way is what is under way.
func TestFetchAgreesWithABitmap(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		total := rng.IntN(40000)
		m := &model{answer: randomBytes(rng, total), got: make([]bool, total), total: total}
		bound := total + rng.IntN(20000)
		f := &Fetch{Buf: make([]byte, bound), Expect: -1, Count: 1}
		if rng.IntN(3) == 0 {
			f.Expect = total
		}
		f.begin(0, 1)
		paths := []*path{{win: newWindow(maxWindow)}, {win: newWindow(maxWindow)}}
		for step := range Instant(20000) {
			if f.done() {
				break
			}
			m.step(t, rng, f, paths, step, step > 300)
			m.check(t, f, paths)
		}
		if !f.done() || f.limit != total || !bytes.Equal(f.Buf[:total], m.answer) {
			t.Fatalf("seed %d: not done: %d of %d asked, %d asks", seed, f.asked, f.limit, len(f.asks))
		}
	}
}

// step does something at random; with calm it is something that leads to the end.
func (m *model) step(t *testing.T, rng *rand.Rand, f *Fetch, paths []*path, now Instant, calm bool) {
	p := paths[rng.IntN(2)]
	counter := uint64(now)
	choice := rng.IntN(10)
	if calm {
		choice = []int{0, 9, 6}[rng.IntN(3)]
	}
	switch choice {
	case 0, 1:
		room := 4000 + rng.IntN(30000)
		if from, to, ok := f.next(now, p, 1+rng.IntN(8000), room); ok && (from >= to || to-from > room) {
			t.Fatalf("asks for [%d, %d) with room for %d", from, to, room)
		}
	case 2, 3, 4:
		m.bring(t, rng, f, p, rng.IntN(m.total+1), 1+rng.IntN(3000), now)
	case 5:
		if len(f.asks) > 0 {
			f.cut(rng.IntN(len(f.asks)), 1+rng.IntN(3000), counter)
			for i := range f.asks { // only what is under way can be a gap
				if f.asks[i].path == nil {
					f.asks[i].again()
				}
			}
		}
	case 6:
		f.age(p, counter)
		if rng.IntN(4) == 0 {
			f.again(p)
		}
	case 7:
		for i := range f.asks {
			if a := &f.asks[i]; a.state == askWaiting && rng.IntN(2) == 0 {
				a.turn(askPending)
			}
		}
	case 8:
		f.claim(now, p, rng.IntN(m.total+1), rng.IntN(m.total+1), now)
	case 9: // the next bytes that an ask waits for
		if len(f.asks) > 0 {
			a := f.asks[rng.IntN(len(f.asks))]
			m.bring(t, rng, f, p, a.from, 1+rng.IntN(8000), now)
		} else if f.asked < f.limit {
			m.bring(t, rng, f, p, min(f.asked, m.total), 1+rng.IntN(100), now)
		}
	}
}

// bring lets a piece arrive.
func (m *model) bring(t *testing.T, rng *rand.Rand, f *Fetch, p *path, pos, n int, now Instant) {
	pos = min(pos, m.total)
	end := min(pos+n, m.total)
	if !f.settle(m.total) {
		t.Fatal("the true length is refused")
	}
	if m.total > 0 && rng.IntN(5) == 0 && f.settle(m.total-1) {
		t.Fatal("another length is taken")
	}
	f.put(now, p, pos, m.answer[pos:end], uint64(now))
	// A byte counts as received only when it was asked for, or follows what was asked for.
	for i := pos; i < end; i++ {
		if i < f.asked {
			m.got[i] = true
		}
	}
}

// A piece behind a hole makes the hole a gap, and two newer datagrams make it due.
func TestGapBecomesDueAfterTwoNewerDatagrams(t *testing.T) {
	p := &path{win: newWindow(maxWindow)}
	f := &Fetch{Buf: make([]byte, 8000), Expect: 8000}
	f.begin(0, 1)
	f.next(0, p, 8000, 8000)
	piece := make([]byte, 1000)
	f.put(1, p, 0, piece, 1)
	f.put(2, p, 2000, piece, 3) // number 2 is missing
	if !f.gaps(p) || f.due() {
		t.Fatalf("%+v", f.asks)
	}
	if lost := f.age(p, 3); lost > 0 {
		t.Error("the datagram that showed the gap counts against it")
	}
	f.age(p, 4)
	if lost := f.age(p, 5); lost != 1000 || !f.due() {
		t.Errorf("%d bytes are due: %+v", lost, f.asks)
	}
	if from, to, ok := f.next(6, p, 8000, 8000); !ok || from != 1000 || to != 2000 {
		t.Errorf("asks for [%d, %d)", from, to)
	}
}

// A datagram that only came late fills its gap, and nothing is asked for again.
func TestLateDatagramFillsItsGap(t *testing.T) {
	p := &path{win: newWindow(maxWindow)}
	f := &Fetch{Buf: make([]byte, 4000), Expect: 4000}
	f.begin(0, 1)
	f.next(0, p, 4000, 4000)
	piece := make([]byte, 1000)
	for i, pos := range []int{0, 2000, 1000, 3000} {
		f.put(Instant(i), p, pos, piece, uint64([]int{1, 3, 2, 4}[i]))
		f.age(p, uint64(i))
	}
	if !f.done() || p.outstanding != 0 || p.asks != 0 {
		t.Errorf("%+v, %d bytes under way", f.asks, p.outstanding)
	}
}

// A fetch that is in as many pieces as it can be keeps to the room that there is: it joins pieces that are due, or waits
// until some that are under way have come, and goes on.
func TestFetchInManyPiecesKeepsToTheRoom(t *testing.T) {
	const stride, room = 10_000, 2 * leastPiece
	rng := rand.New(rand.NewPCG(1, 1))
	answer := randomBytes(rng, maxAsks*stride)
	f := &Fetch{Buf: make([]byte, len(answer)), Expect: len(answer)}
	f.begin(0, 1)
	p := &path{win: newWindow(maxWindow)}
	for range maxAsks {
		f.next(0, p, stride, stride)
	}
	for i := range maxAsks {
		f.put(1, p, i*stride, answer[i*stride:i*stride+1000], uint64(i))
	}
	f.asks[7].again()
	if from, to, ok := f.next(2, p, leastPiece, room); ok || len(f.asks) != maxAsks {
		t.Fatalf("asks for [%d, %d) of %d pieces", from, to, len(f.asks))
	}
	f.again(p)
	for step := Instant(3); !f.done(); step++ {
		from, to, ok := f.next(step, p, leastPiece, room)
		if !ok || to-from > room || p.outstanding > room {
			t.Fatalf("asks for [%d, %d): %v, %d bytes under way", from, to, ok, p.outstanding)
		}
		f.put(step, p, from, answer[from:to], uint64(step)+maxAsks)
	}
	if !bytes.Equal(f.Buf, answer) {
		t.Error("wrong bytes")
	}
}
