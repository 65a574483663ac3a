package secure

import (
	"fmt"
	"testing"

	"github.com/spate-project/spate/stream/wire"
)

func BenchmarkSeal(b *testing.B) {
	for _, c := range ciphers {
		for _, size := range []int{1472, 65000} {
			b.Run(fmt.Sprintf("%v/%d", c, size), func(b *testing.B) {
				s := NewSealer(secretNew, c)
				buf := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					s.Seal(buf[:size-wire.TagSize], 5)
					s.counter = 0 // no one opens these
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, c := range ciphers {
		for _, size := range []int{1472, 65000} {
			b.Run(fmt.Sprintf("%v/%d", c, size), func(b *testing.B) {
				s, o := NewSealer(secretNew, c), NewOpener(secretNew, c, WindowTarget)
				buf, sealed := make([]byte, size), make([]byte, size)
				s.Seal(sealed[:size-wire.TagSize], 5)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					copy(buf, sealed) // counted in
					o.seen.next = 0
					clear(o.seen.words[:1])
					if _, _, err := o.Open(buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// The server's part of a log-in, and both ends together.
func BenchmarkHandshake(b *testing.B) {
	farm := NewFarm(secretNew)
	b.Run("both", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h, datagram := hello(b, farm.Public(), ciphers[0], [KeySize]byte{})
			if _, _, _, err := h.Welcome(answer(b, farm, datagram)); err != nil {
				b.Fatal(err)
			}
		}
	})
	_, datagram := hello(b, farm.Public(), ciphers[0], [KeySize]byte{})
	b.Run("server", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			answer(b, farm, datagram)
		}
	})
	b.Run("check mac1", func(b *testing.B) {
		b.ReportAllocs()
		cookies := NewCookies(farm)
		for b.Loop() {
			if !cookies.Check1(datagram) {
				b.Fatal("mac1 does not fit")
			}
		}
	})
}

func answer(b *testing.B, farm *Farm, datagram []byte) []byte {
	r, err := farm.OpenHello(datagram)
	if err != nil {
		b.Fatal(err)
	}
	welcome, _, err := r.Welcome(seeded(5), nil, wire.Welcome{Index: 9}, [KeySize]byte{}, make([]byte, 400))
	if err != nil {
		b.Fatal(err)
	}
	return welcome
}

// The server's part of a resumption, up to the first sealed answer.
func BenchmarkResume(b *testing.B) {
	farm := NewFarm(secretNew)
	ticket := sealTicket(b, farm, sampleTicket())
	datagram := newFlight(b, farm.Public(), ciphers[0], ticket, wire.Read{Count: 1}.Append(nil)).Again(nil)
	b.Run("server", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := farm.OpenResume(datagram)
			if err != nil {
				b.Fatal(err)
			}
			keys := r.Keys([16]byte{1}, ServerID{2})
			NewSealer(keys.Send, keys.Cipher)
			NewOpener(keys.Receive, keys.Cipher, WindowServer)
		}
	})
	b.Run("seal ticket", func(b *testing.B) {
		b.ReportAllocs()
		rng, ticket := seeded(1), sampleTicket()
		for b.Loop() {
			if _, err := farm.SealTicket(rng, ticket); err != nil {
				b.Fatal(err)
			}
		}
	})
}
