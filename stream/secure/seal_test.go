package secure

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/spate-project/spate/stream/wire"
)

func sealFirst(s *Sealer, text string) []byte {
	buf := make([]byte, wire.SealedFirstSize, wire.SealedFirstSize+len(text)+wire.TagSize)
	return s.SealFirst(append(buf, text...), wire.SealedFirst{Receiver: 5, Index: 6})
}

func TestSealedDatagramsOpenInAnyOrderAndEachOnce(t *testing.T) {
	for _, c := range ciphers {
		s, o := NewSealer(secretNew, c), NewOpener(secretNew, c, WindowServer)
		datagrams := [][]byte{sealText(s, "a"), sealFirst(s, "b"), sealText(s, ""), sealText(s, "d")}
		if s.Counter() != 4 {
			t.Fatalf("counter %d after 4", s.Counter())
		}
		if _, ok := o.Highest(); ok {
			t.Error("a highest counter before the first datagram")
		}
		for _, i := range []int{2, 0, 3, 1} {
			frames, counter, err := o.Open(bytes.Clone(datagrams[i]))
			if err != nil || string(frames) != []string{"a", "b", "", "d"}[i] || counter != uint64(i) {
				t.Fatalf("%v, datagram %d: %q, %d, %v", c, i, frames, counter, err)
			}
		}
		for i, d := range datagrams {
			if _, _, err := o.Open(bytes.Clone(d)); !errors.Is(err, ErrReplay) {
				t.Errorf("%v, datagram %d again: %v", c, i, err)
			}
		}
		if n, ok := o.Highest(); n != 3 || !ok {
			t.Errorf("highest %d", n)
		}
	}
}

func TestSealingHappensInPlace(t *testing.T) {
	s := NewSealer(secretNew, ciphers[0])
	room := make([]byte, 4096)
	datagram := s.Seal(room[:wire.SealedSize+100], 5)
	if &datagram[0] != &room[0] || len(datagram) != wire.SealedSize+100+wire.TagSize || room[len(datagram)] != 0 {
		t.Error("another buffer, or more than the datagram is written")
	}
	frames, _, err := NewOpener(secretNew, ciphers[0], 64).Open(datagram)
	if err != nil || &frames[0] != &room[wire.SealedSize] {
		t.Errorf("opened elsewhere: %v", err)
	}
}

// Changed, cut or foreign datagrams do not open, and what they claim is not remembered.
func TestForgedDatagramsChangeNothing(t *testing.T) {
	for _, c := range ciphers {
		for name, seal := range map[string]func(*Sealer, string) []byte{"sealed": sealText, "sealed first": sealFirst} {
			datagram := seal(NewSealer(secretNew, c), "frames")
			o := NewOpener(secretNew, c, 64)
			for i := range datagram {
				if _, _, err := o.Open(flip(datagram, i)); err == nil {
					t.Errorf("%v %s: byte %d changed: no error", c, name, i)
				}
			}
			for n := range datagram {
				if _, _, err := o.Open(bytes.Clone(datagram[:n])); err == nil {
					t.Errorf("%v %s: cut to %d: no error", c, name, n)
				}
			}
			far := bytes.Clone(datagram)
			far[10] = 1 // a counter far ahead would push the true one out of the window
			if _, _, err := o.Open(far); !errors.Is(err, ErrForged) {
				t.Errorf("%v %s: counter changed: %v", c, name, err)
			}
			if _, _, err := NewOpener(secretOld, c, 64).Open(bytes.Clone(datagram)); !errors.Is(err, ErrForged) {
				t.Errorf("%v %s: another key: %v", c, name, err)
			}
			if frames, _, err := o.Open(datagram); err != nil || string(frames) != "frames" {
				t.Errorf("%v %s: after all that: %q, %v", c, name, frames, err)
			}
		}
	}
}

func TestCountersEnd(t *testing.T) {
	s := NewSealer(secretNew, ciphers[0])
	s.counter = MaxCounter - 1
	if s.Spent() {
		t.Fatal("spent one too early")
	}
	last := sealText(s, "last")
	if !s.Spent() {
		t.Fatal("not spent at the end")
	}
	if _, n, err := NewOpener(secretNew, ciphers[0], 64).Open(last); err != nil || n != MaxCounter-1 {
		t.Errorf("the last datagram: %d, %v", n, err)
	}
	mustPanic(t, "sealing with a spent key", func() { sealText(s, "one more") })
	if s.Counter() != MaxCounter {
		t.Errorf("counter %d", s.Counter())
	}
	beyond := wire.Sealed{Counter: MaxCounter}.Append(nil)
	if _, _, err := NewOpener(secretNew, ciphers[0], 64).Open(append(beyond, make([]byte, 40)...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a counter beyond the end: %v", err)
	}
}

func TestSealerWithoutRoomPanics(t *testing.T) {
	s := NewSealer(secretNew, ciphers[0])
	mustPanic(t, "no room for the tag", func() { s.Seal(make([]byte, 100), 1) })
	mustPanic(t, "no room for the header", func() { s.Seal(make([]byte, 10, 100), 1) })
	mustPanic(t, "no room for the longer header", func() { s.SealFirst(make([]byte, 20, 100), wire.SealedFirst{}) })
	if s.Counter() != 0 {
		t.Error("a counter was used")
	}
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

func TestFingerprintNamesTheKeyAndNothingElse(t *testing.T) {
	a, b := NewSealer(secretNew, ciphers[0]), NewSealer(secretNew, ciphers[1])
	if a.Fingerprint() != b.Fingerprint() || a.Fingerprint() == NewSealer(secretOld, ciphers[0]).Fingerprint() {
		t.Error("fingerprints do not follow keys")
	}
	f := a.Fingerprint()
	if bytes.Contains(secretNew[:], f[:4]) {
		t.Error("the fingerprint is part of the key")
	}
}

// The window lets through exactly what a list of all counters ever seen would: new ones that are not older than the window.
func TestWindowAgreesWithAModel(t *testing.T) {
	for _, size := range []int{1, 64, 65, 128, 2048, 65536} {
		rng := rand.New(rand.NewPCG(1, uint64(size)))
		w := newWindow(size)
		if w.size < uint64(size) {
			t.Fatalf("window of %d for %d", w.size, size)
		}
		seen := make(map[uint64]bool)
		var next, base uint64
		for step := range 60000 {
			switch rng.IntN(100) {
			case 0: // leap over the whole window, and more
				base += rng.Uint64N(3 * w.size)
			case 1, 2, 3:
				base += rng.Uint64N(200)
			default:
				base += rng.Uint64N(3)
			}
			counter := base
			if back := rng.Uint64N(w.size + w.size/4 + 2); rng.IntN(2) == 0 && back <= base {
				counter -= back
			}
			want := !seen[counter] && (counter >= next || next-counter <= w.size)
			if got := w.fresh(counter); got != want {
				t.Fatalf("window %d, step %d: counter %d, next %d: fresh %v, want %v", size, step, counter, next, got, want)
			}
			if want && rng.IntN(10) > 0 { // some datagrams turn out to be forged and are not marked
				w.mark(counter)
				seen[counter] = true
				next = max(next, counter+1)
			}
		}
	}
}
