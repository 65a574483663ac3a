//go:build !race

package secure

import (
	"errors"
	"testing"

	"github.com/spate-project/spate/stream/wire"
)

// The packet path seals and opens without allocating.
func TestSealAndOpenDoNotAllocate(t *testing.T) {
	for _, c := range ciphers {
		s, o := NewSealer(secretNew, c), NewOpener(secretNew, c, WindowTarget)
		buf := make([]byte, wire.MaxDatagram)
		n := testing.AllocsPerRun(200, func() {
			for _, size := range []int{wire.SealedSize, 1456, 65000} {
				if _, _, err := o.Open(s.Seal(buf[:size], 5)); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := o.Open(s.SealFirst(buf[:1456], wire.SealedFirst{Receiver: 5})); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%v: %v allocations for four datagrams, want 0", c, n)
		}
	}
}

// Refusing costs nothing either: garbage, replays and forgeries come in any number.
func TestRefusedDatagramsDoNotAllocate(t *testing.T) {
	s, o := NewSealer(secretNew, ciphers[0]), NewOpener(secretNew, ciphers[0], WindowTarget)
	replayed := sealText(s, "frames")
	if _, _, err := o.Open(append([]byte(nil), replayed...)); err != nil {
		t.Fatal(err)
	}
	forged := flip(sealText(s, "frames"), 20)
	farm := NewFarm(secretNew)
	_, first := hello(t, NewFarm(secretForeign).Public(), ciphers[0], [KeySize]byte{})
	hint := make([]byte, 0, 100)
	n := testing.AllocsPerRun(200, func() {
		_, _, err1 := o.Open(replayed)
		_, _, err2 := o.Open(forged)
		_, err3 := farm.OpenHello(first)
		hint = AppendHint(hint[:0], first, wire.HintOtherFarm)
		if !errors.Is(err1, ErrReplay) || !errors.Is(err2, ErrForged) || !errors.Is(err3, ErrOtherFarm) || len(hint) != wire.HintSize {
			t.Fatal(err1, err2, err3)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
