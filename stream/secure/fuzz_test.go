package secure

import (
	"bytes"
	"testing"

	"github.com/spate-project/spate/stream/wire"
)

// seeds adds a datagram, pieces of it, and changed ones.
func seeds(f *testing.F, datagrams ...[]byte) {
	for _, d := range datagrams {
		f.Add(d)
		f.Add(d[:len(d)/2])
		f.Add(flip(d, len(d)-1))
		f.Add(flip(d, min(20, len(d)-1)))
	}
}

// Nothing but the true datagram opens, and nothing panics.
func FuzzOpenHello(f *testing.F) {
	farm := NewFarm(secretNew, secretOld)
	_, first := hello(f, farm.Public(), ciphers[0], secretOf(8))
	_, second := hello(f, NewFarm(secretOld).Public(), ciphers[1], [KeySize]byte{})
	seeds(f, first, second)
	cookies := NewCookies(farm)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := farm.OpenHello(b)
		ours := same(b, first) || same(b, second)
		if (err == nil) != ours || (r != nil) != ours {
			t.Fatalf("%x: %v", b, err)
		}
		if reply := cookies.Reply(nil, b, home); !Allowed(len(reply), len(b)) || len(reply) > 0 && !cookies.Check1(b) {
			t.Fatalf("%d bytes are answered by a cookie of %d", len(b), len(reply))
		}
		for code := range wire.HintCode(6) {
			if hint := AppendHint(nil, b, code); !Allowed(len(hint), len(b)) {
				t.Fatalf("%d bytes are answered by a hint of %d", len(b), len(hint))
			}
		}
	})
}

// same compares all but mac2, which OpenHello and OpenResume do not look at.
func same(b, datagram []byte) bool {
	n := len(datagram) - wire.MACSize
	return len(b) == len(datagram) && bytes.Equal(b[:n], datagram[:n])
}

// Whatever comes first, the true Welcome is read after it.
func FuzzWelcome(f *testing.F) {
	farm := NewFarm(secretNew)
	_, first := hello(f, farm.Public(), ciphers[0], [KeySize]byte{})
	r, err := farm.OpenHello(first)
	if err != nil {
		f.Fatal(err)
	}
	welcome, _, err := r.Welcome(seeded(5), nil, wire.Welcome{Index: 9}, [KeySize]byte{}, []byte("come in"))
	if err != nil {
		f.Fatal(err)
	}
	seeds(f, welcome, NewCookies(farm).Reply(nil, first, home))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, again := hello(t, farm.Public(), ciphers[0], [KeySize]byte{})
		if !bytes.Equal(again, first) {
			t.Fatal("the same randomness gives another hello")
		}
		_ = h.Cookie(b)
		if _, head, _, err := h.Welcome(b); err == nil {
			if head.Index != 9 || !bytes.Equal(b[wire.WelcomeSize:], welcome[wire.WelcomeSize:]) {
				t.Fatalf("%x is a welcome", b)
			}
			return
		}
		if reply, _, _, err := h.Welcome(welcome); err != nil || string(reply) != "come in" {
			t.Fatalf("after %x the true welcome is refused: %v", b, err)
		}
	})
}

func FuzzOpenResume(f *testing.F) {
	farm := NewFarm(secretNew, secretOld)
	ticket := sealTicket(f, farm, sampleTicket())
	flight := newFlight(f, farm.Public(), ciphers[0], ticket, wire.Read{ID: 1, Count: 2}.Append(nil)).Again(nil)
	seeds(f, flight, newFlight(f, farm.Public(), ciphers[1], nil, nil).Again(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := farm.OpenResume(b); (err == nil) != same(b, flight) || err != nil && len(r.Frames) > 0 {
			t.Fatalf("%x: %v", b, err)
		}
	})
}

func FuzzOpenTicket(f *testing.F) {
	farm := NewFarm(secretNew, secretOld)
	newer, older := sealTicket(f, farm, sampleTicket()), sealTicket(f, NewFarm(secretOld), sampleTicket())
	seeds(f, newer, older)
	f.Fuzz(func(t *testing.T, b []byte) {
		ours := bytes.Equal(b, newer) || bytes.Equal(b, older)
		if _, _, err := farm.OpenTicket(b); (err == nil) != ours {
			t.Fatalf("%x: %v", b, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s := NewSealer(secretNew, ciphers[0])
	plain, first := sealText(s, "frames"), sealFirst(s, "frames")
	seeds(f, plain, first)
	f.Fuzz(func(t *testing.T, b []byte) {
		o := NewOpener(secretNew, ciphers[0], 64)
		ours := bytes.Equal(b, plain) || bytes.Equal(b, first)
		if frames, _, err := o.Open(bytes.Clone(b)); (err == nil) != ours || ours && string(frames) != "frames" {
			t.Fatalf("%x: %v", b, err)
		}
		for _, d := range [][]byte{plain, first} {
			if _, _, err := o.Open(bytes.Clone(d)); err != nil && !bytes.Equal(d, b) {
				t.Fatalf("after %x a true datagram does not open: %v", b, err)
			}
		}
	})
}

func FuzzParseFarmKey(f *testing.F) {
	good := NewFarm(secretNew).Public().String()
	for _, s := range []string{good, good[:30], "spate1", "", "spate1é", "spate1" + good} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseFarmKey(s)
		if err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
		if again, err2 := ParseFarmKey(k.String()); err == nil && (err2 != nil || again != k) {
			t.Fatalf("%q is read as %v, and that as %v: %v", s, k, again, err2)
		}
	})
}
