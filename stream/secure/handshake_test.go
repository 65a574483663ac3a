package secure

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/spate-project/spate/stream/wire"
)

// Both ends get the same keys, whatever the cipher, the pre-shared key and the generation of the farm key.
func TestHandshakeAgrees(t *testing.T) {
	farm := NewFarm(secretNew, secretOld)
	for _, c := range ciphers {
		for name, psk := range map[string][KeySize]byte{"no psk": {}, "psk": secretOf(8)} {
			for generation, public := range []PublicKey{NewFarm(secretNew).Public(), NewFarm(secretOld).Public()} {
				t.Run(fmt.Sprintf("%v %s generation %d", c, name, generation), func(t *testing.T) {
					h, datagram := hello(t, public, c, psk)
					if len(datagram) != wire.FirstSize {
						t.Fatalf("hello of %d bytes", len(datagram))
					}
					r, err := farm.OpenHello(datagram)
					if err != nil {
						t.Fatal(err)
					}
					if string(r.Login) != "log me in" || r.Device != deviceKey(t).Public() || r.Head.Index != 77 || r.Head.Cipher != c {
						t.Fatalf("login %q, head %+v", r.Login, r.Head)
					}
					welcome, serverKeys, err := r.Welcome(seeded(5), nil, wire.Welcome{Index: 123}, psk, []byte("come in"))
					if err != nil {
						t.Fatal(err)
					}
					reply, head, keys, err := h.Welcome(welcome)
					if err != nil || string(reply) != "come in" || head.Index != 123 || head.Receiver != 77 {
						t.Fatalf("%q, %+v, %v", reply, head, err)
					}
					if keys.Cipher != c || serverKeys.Cipher != c {
						t.Fatal("another cipher")
					}
					checkSession(t, keys, serverKeys)
					if _, _, _, err := h.Welcome(welcome); !errors.Is(err, ErrState) {
						t.Errorf("the same welcome again: %v", err)
					}
				})
			}
		}
	}
}

func TestAnotherPresharedKeyIsRefused(t *testing.T) {
	farm := NewFarm(secretNew)
	for name, psk := range map[string][2][KeySize]byte{
		"differ":      {secretOf(8), secretOf(9)},
		"target only": {secretOf(8), {}},
		"server only": {{}, secretOf(8)},
	} {
		h, datagram := hello(t, farm.Public(), ciphers[0], psk[0])
		r, err := farm.OpenHello(datagram)
		if err != nil {
			t.Fatal(err)
		}
		welcome, _, err := r.Welcome(seeded(5), nil, wire.Welcome{}, psk[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := h.Welcome(welcome); !errors.Is(err, ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestForeignFarmsAndVersionsAreRefused(t *testing.T) {
	farm := NewFarm(secretNew)
	_, datagram := hello(t, NewFarm(secretForeign).Public(), ciphers[0], [KeySize]byte{})
	if _, err := farm.OpenHello(datagram); !errors.Is(err, ErrOtherFarm) {
		t.Errorf("hello to another farm: %v", err)
	}
	// The right id over another key: mac1 is made with the key itself.
	id := farm.KeyID()
	copy(datagram[12:], id[:])
	if _, err := farm.OpenHello(datagram); !errors.Is(err, ErrForged) {
		t.Errorf("forged farm key id: %v", err)
	}
	if _, err := NewFarm(secretNew, secretOld).OpenHello(datagram); !errors.Is(err, ErrForged) {
		t.Errorf("forged farm key id, two generations: %v", err)
	}
	for name, head := range map[string]wire.Hello{
		"older target":     {MinVersion: 0, MaxVersion: wire.MinProtocol - 1, Cipher: ciphers[0]},
		"newer target":     {MinVersion: wire.MaxProtocol + 1, MaxVersion: 255, Cipher: ciphers[0]},
		"crossed versions": {MinVersion: wire.MaxProtocol + 1, MaxVersion: wire.MinProtocol, Cipher: ciphers[0]},
	} {
		h, err := NewInitiator(seeded(4), deviceKey(t), farm.Public(), [KeySize]byte{})
		if err != nil {
			t.Fatal(err)
		}
		datagram, err := h.Hello(nil, head, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := farm.OpenHello(datagram); !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, datagram = hello(t, farm.Public(), ciphers[0], [KeySize]byte{})
	datagram[3] = wire.Version + 1
	if _, err := farm.OpenHello(datagram); !errors.Is(err, ErrVersion) {
		t.Errorf("another wire version: %v", err)
	}
}

// Any byte that is changed or missing in a Hello is noticed, before mac2, which proves the address and nothing else.
func TestChangedHelloIsRefused(t *testing.T) {
	farm := NewFarm(secretNew, secretOld)
	_, datagram := hello(t, farm.Public(), ciphers[0], secretOf(8))
	for i := range len(datagram) - wire.MACSize {
		if r, err := farm.OpenHello(flip(datagram, i)); err == nil {
			t.Errorf("byte %d changed: %v", i, r)
		}
	}
	for n := range datagram {
		if _, err := farm.OpenHello(datagram[:n:n]); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
	}
	if _, err := farm.OpenHello(datagram); err != nil {
		t.Error(err)
	}
}

// Whoever knows the farm's public key can make a right mac1; the handshake itself notices every change all the same.
func TestChangedHelloWithARightMACIsRefused(t *testing.T) {
	farm := NewFarm(secretNew)
	h, datagram := hello(t, farm.Public(), ciphers[0], secretOf(8))
	noise := wire.HelloSize + noise1Overhead + len("log me in")
	for i := 4; i < noise; i++ {
		forged := flip(datagram, i)
		h.cookies.AddMacs(forged)
		if _, err := farm.OpenHello(forged); err == nil {
			t.Errorf("byte %d changed: no error", i)
		}
	}
}

// A forged Welcome is refused and leaves the handshake as it was: the true one is read afterwards.
func TestChangedWelcomeIsRefusedAndChangesNothing(t *testing.T) {
	farm := NewFarm(secretNew)
	h, datagram := hello(t, farm.Public(), ciphers[0], secretOf(8))
	r, err := farm.OpenHello(datagram)
	if err != nil {
		t.Fatal(err)
	}
	welcome, serverKeys, err := r.Welcome(seeded(5), nil, wire.Welcome{Index: 9}, secretOf(8), []byte("come in"))
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, forged []byte) {
		t.Helper()
		if _, _, _, err := h.Welcome(forged); err == nil {
			t.Fatalf("%s: no error", what)
		}
	}
	for i := range welcome {
		if i >= 8 && i < 12 || i >= 14 && i < 16 { // clear index and reserved bytes: see the test below
			continue
		}
		refuse(fmt.Sprint("byte ", i), flip(welcome, i))
	}
	for n := range welcome {
		refuse(fmt.Sprint("cut to ", n), welcome[:n:n])
	}
	refuse("longer", append(bytes.Clone(welcome), 0))
	lowOrder := bytes.Clone(welcome)
	clear(lowOrder[wire.WelcomeSize : wire.WelcomeSize+KeySize])
	refuse("ephemeral key zero", lowOrder)
	lowOrder[wire.WelcomeSize] = 1
	refuse("ephemeral key one", lowOrder)
	reply, _, keys, err := h.Welcome(welcome)
	if err != nil || string(reply) != "come in" {
		t.Fatalf("the true welcome after the forged ones: %q, %v", reply, err)
	}
	checkSession(t, keys, serverKeys)
}

// Of the Welcome's clear header the server's index alone is free. The target goes by the sealed one, whatever stands in clear.
func TestIndexOfAWelcomeIsTheSealedOne(t *testing.T) {
	farm := NewFarm(secretNew)
	for _, i := range []int{8, 9, 10, 11, 14, 15} {
		h, datagram := hello(t, farm.Public(), ciphers[0], secretOf(8))
		r, err := farm.OpenHello(datagram)
		if err != nil {
			t.Fatal(err)
		}
		welcome, _, err := r.Welcome(seeded(5), nil, wire.Welcome{Index: 9}, secretOf(8), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, head, _, err := h.Welcome(flip(welcome, i)); err != nil || head.Index != 9 {
			t.Errorf("byte %d changed: index %d, %v", i, head.Index, err)
		}
	}
}

// A replayed Hello opens again and gives nothing away: each answer has keys of its own.
func TestReplayedHelloGivesOtherKeys(t *testing.T) {
	farm := NewFarm(secretNew)
	_, datagram := hello(t, farm.Public(), ciphers[0], [KeySize]byte{})
	rng := seeded(5)
	seen := make(map[[KeySize]byte]bool)
	for range 4 {
		r, err := farm.OpenHello(datagram)
		if err != nil {
			t.Fatal(err)
		}
		_, keys, err := r.Welcome(rng, nil, wire.Welcome{}, [KeySize]byte{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if seen[keys.Send] || seen[keys.Receive] {
			t.Fatal("a key appears twice")
		}
		seen[keys.Send], seen[keys.Receive] = true, true
		if _, _, err := r.Welcome(rng, nil, wire.Welcome{}, [KeySize]byte{}, nil); err == nil {
			t.Fatal("one hello, two welcomes from one responder")
		}
	}
}

func TestWelcomeIsNeverLongerThanItsHello(t *testing.T) {
	farm := NewFarm(secretNew)
	for _, n := range []int{0, wire.MaxLoginReply, WelcomeRoom, WelcomeRoom + 1, 70000} {
		h, datagram := hello(t, farm.Public(), ciphers[0], [KeySize]byte{})
		r, err := farm.OpenHello(datagram)
		if err != nil {
			t.Fatal(err)
		}
		welcome, _, err := r.Welcome(seeded(5), nil, wire.Welcome{}, [KeySize]byte{}, make([]byte, n))
		if n > WelcomeRoom {
			if !errors.Is(err, ErrTooLong) {
				t.Errorf("reply of %d bytes: %v", n, err)
			}
			continue
		}
		if err != nil || !Allowed(len(welcome), len(datagram)) {
			t.Fatalf("reply of %d bytes: welcome of %d, %v", n, len(welcome), err)
		}
		if reply, _, _, err := h.Welcome(welcome); err != nil || len(reply) != n {
			t.Errorf("reply of %d bytes: %v", n, err)
		}
	}
}

func TestHelloThatCannotBeMadeIsRefused(t *testing.T) {
	farm := NewFarm(secretNew)
	if _, err := NewInitiator(seeded(4), deviceKey(t), PublicKey{}, [KeySize]byte{}); err == nil {
		t.Error("a farm key of zeros is accepted")
	}
	h, err := NewInitiator(seeded(4), deviceKey(t), farm.Public(), [KeySize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := h.Welcome(nil); !errors.Is(err, ErrState) {
		t.Errorf("welcome before hello: %v", err)
	}
	if _, err := h.Hello(nil, helloHead(ciphers[0]), make([]byte, HelloRoom+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("login too long: %v", err)
	}
	if _, err := h.Hello(nil, helloHead(99), nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("unknown cipher: %v", err)
	}
	datagram, err := h.Hello(nil, helloHead(ciphers[0]), make([]byte, HelloRoom))
	if err != nil || len(datagram) != wire.FirstSize {
		t.Errorf("longest login: %d bytes, %v", len(datagram), err)
	}
	if r, err := farm.OpenHello(datagram); err != nil || len(r.Login) != HelloRoom {
		t.Errorf("longest login: %v", err)
	}
	if _, err := h.Hello(nil, helloHead(ciphers[0]), nil); !errors.Is(err, ErrState) {
		t.Errorf("second hello: %v", err)
	}
}

// again is what Initiator and Flight have in common.
type again interface {
	Again(dst []byte) []byte
	Cookie(datagram []byte) error
}

func firsts(t *testing.T, farm PublicKey) map[string]again {
	h, _ := hello(t, farm, ciphers[0], [KeySize]byte{})
	flight, err := NewFlight(seeded(7), farm, wire.Resume{Index: 77, Cipher: ciphers[0]}, make([]byte, TicketSize), secretNew, nil)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]again{"hello": h, "resume": flight}
}

// A target proves its address by sending again with a cookie; until then a re-send is byte by byte the same.
func TestCookieProvesTheAddressItWasSentTo(t *testing.T) {
	for _, secret := range [][KeySize]byte{secretNew, secretOld} {
		for name, f := range firsts(t, NewFarm(secret).Public()) {
			cookies := NewCookies(NewFarm(secretNew, secretOld))
			datagram := f.Again(nil)
			if again := f.Again([]byte("before")); !bytes.Equal(again[6:], datagram) {
				t.Fatalf("%s: sent again it differs", name)
			}
			if !cookies.Check1(datagram) || cookies.Check2(datagram, home) {
				t.Fatalf("%s: mac1 does not fit, or mac2 does without a cookie", name)
			}
			reply := cookies.Reply(nil, datagram, home)
			if !Allowed(len(reply), len(datagram)) || len(reply) != wire.CookieSize {
				t.Fatalf("%s: cookie of %d bytes", name, len(reply))
			}
			for i := range reply {
				if err := f.Cookie(flip(reply, i)); err == nil {
					t.Fatalf("%s: cookie with byte %d changed is taken", name, i)
				}
			}
			if !bytes.Equal(f.Again(nil), datagram) {
				t.Fatalf("%s: a forged cookie changes it", name)
			}
			if err := f.Cookie(reply); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			proven := f.Again(nil)
			n := len(datagram) - wire.MACSize
			if !bytes.Equal(proven[:n], datagram[:n]) || bytes.Equal(proven[n:], datagram[n:]) {
				t.Fatalf("%s: with a cookie something else than mac2 differs, or nothing", name)
			}
			if !cookies.Check2(proven, home) {
				t.Errorf("%s: the address is not proven", name)
			}
			otherPort := netip.AddrPortFrom(home.Addr(), home.Port()+1)
			if cookies.Check2(proven, elsewhere) || cookies.Check2(proven, otherPort) {
				t.Errorf("%s: another address is proven", name)
			}
			if NewCookies(NewFarm(secretNew, secretOld)).Check2(proven, home) {
				t.Errorf("%s: another server takes the cookie", name)
			}
		}
	}
}

func TestCookiesAreForThoseWhoKnowTheFarmKey(t *testing.T) {
	cookies := NewCookies(NewFarm(secretNew))
	for name, f := range firsts(t, NewFarm(secretForeign).Public()) {
		if datagram := f.Again(nil); cookies.Check1(datagram) || cookies.Reply(nil, datagram, home) != nil {
			t.Errorf("%s of another farm is answered", name)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 31), make([]byte, 1500), wire.Cookie{}.Append(nil), wire.Hello{}.Append(nil)} {
		if cookies.Check1(b) || cookies.Check2(b, home) || cookies.Reply(nil, b, home) != nil {
			t.Errorf("%d bytes are answered", len(b))
		}
	}
}

func TestCookieForAnotherHelloIsRefused(t *testing.T) {
	farm := NewFarm(secretNew)
	cookies := NewCookies(farm)
	h, _ := hello(t, farm.Public(), ciphers[0], [KeySize]byte{})
	_, other := hello(t, farm.Public(), ciphers[1], [KeySize]byte{})
	if err := h.Cookie(cookies.Reply(nil, other, home)); !errors.Is(err, ErrForged) {
		t.Error(err)
	}
}
