package secure

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/spate-project/spate/stream/wire"
)

func sampleTicket() Ticket {
	return Ticket{
		Device: PrivateKey(secretOf(20)).Public(), MAC: [6]byte{2, 0, 0, 1, 2, 3}, Root: secretOf(21), Timestamp: -5,
		Secret: secretOf(22), Addr: home.Addr(), Epoch: 7, Flags: 1,
	}
}

func sealTicket(t testing.TB, f *Farm, ticket Ticket) []byte {
	b, err := f.SealTicket(seeded(23), ticket)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != TicketSize {
		t.Fatalf("ticket of %d bytes, TicketSize is %d", len(b), TicketSize)
	}
	return b
}

// A ticket opens at every server of the farm, also when the secret has been changed once since.
func TestTicketOpensAllOverTheFarm(t *testing.T) {
	for _, addr := range []netip.Addr{home.Addr(), elsewhere.Addr(), {}} {
		want := sampleTicket()
		want.Addr = addr
		b := sealTicket(t, NewFarm(secretOld), want)
		for name, f := range map[string]*Farm{
			"same": NewFarm(secretOld), "changed": NewFarm(secretNew, secretOld), "not changed yet": NewFarm(secretOld, secretForeign),
		} {
			got, id, err := f.OpenTicket(b)
			if err != nil || got != want {
				t.Errorf("%s: %v", name, err)
			}
			if !bytes.Equal(id[:], b[ticketKeyIDSize:ticketKeyIDSize+TicketIDSize]) {
				t.Errorf("%s: id %x", name, id)
			}
		}
	}
}

func TestTicketIsForNobodyElse(t *testing.T) {
	farm := NewFarm(secretNew, secretOld)
	b := sealTicket(t, farm, sampleTicket())
	if _, _, err := NewFarm(secretForeign).OpenTicket(b); !errors.Is(err, ErrTicket) {
		t.Errorf("another farm: %v", err)
	}
	if _, _, err := NewFarm(secretOld).OpenTicket(b); !errors.Is(err, ErrTicket) {
		t.Errorf("a server without the new secret: %v", err)
	}
	for i := range b { // bytes 0 to 3 are the epoch: a ticket cannot be moved to another
		if _, _, err := farm.OpenTicket(flip(b, i)); !errors.Is(err, ErrTicket) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for n := range b {
		if _, _, err := farm.OpenTicket(b[:n:n]); !errors.Is(err, ErrTicket) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, _, err := farm.OpenTicket(append(b, 0)); !errors.Is(err, ErrTicket) {
		t.Errorf("longer: %v", err)
	}
}

func TestTicketTellsItsEpoch(t *testing.T) {
	farm := NewFarm(secretNew)
	for _, epoch := range []uint32{0, 1, 1<<32 - 1} {
		ticket := sampleTicket()
		ticket.Epoch = epoch
		if got, _, err := farm.OpenTicket(sealTicket(t, farm, ticket)); err != nil || got.Epoch != epoch {
			t.Errorf("epoch %d: %d, %v", epoch, got.Epoch, err)
		}
	}
}

func newFlight(t testing.TB, farm PublicKey, c wire.Cipher, ticket []byte, frames []byte) *Flight {
	f, err := NewFlight(seeded(24), farm, wire.Resume{Index: 78, Cipher: c, Flags: 3}, ticket, sampleTicket().Secret, frames)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A target resumes at a server that has never seen it, and the first train can be opened whichever of its datagrams arrives.
func TestResumptionAgrees(t *testing.T) {
	server := ServerID{1, 2, 3}
	reads := wire.Read{ID: 1, Count: 4}.Append(nil)
	for _, c := range ciphers {
		for _, known := range [][KeySize]byte{secretNew, secretOld} {
			ticket := sealTicket(t, NewFarm(secretNew), sampleTicket())
			flight := newFlight(t, NewFarm(known).Public(), c, ticket, reads)
			datagram := flight.Again(nil)
			if len(datagram) != wire.FirstSize {
				t.Fatalf("flight of %d bytes", len(datagram))
			}
			before := bytes.Clone(datagram)
			r, err := NewFarm(secretNew, secretOld).OpenResume(datagram)
			if err != nil || !bytes.Equal(r.Frames, reads) || r.Ticket != sampleTicket() || r.Head.Index != 78 || r.Head.Cipher != c {
				t.Fatalf("%+v, %v", r, err)
			}
			if !bytes.Equal(before, datagram) {
				t.Error("opening changes the datagram")
			}
			random := [16]byte{9}
			keys := r.Keys(random, server)
			sealer := NewSealer(keys.Send, keys.Cipher)
			head := wire.SealedFirst{Receiver: 78, Index: 4, Random: random, Server: server}
			for i := range 3 {
				buf := append(make([]byte, wire.SealedFirstSize, 200), byte('a'+i))
				train := sealer.SealFirst(buf, head)
				got, _, err := wire.ParseSealedFirst(train)
				if err != nil {
					t.Fatal(err)
				}
				mine := flight.Keys(got)
				frames, counter, err := NewOpener(mine.Receive, mine.Cipher, WindowTarget).Open(train)
				if err != nil || string(frames) != string(rune('a'+i)) || counter != uint64(i) {
					t.Fatalf("datagram %d of the train: %q, %v", i, frames, err)
				}
				checkSession(t, mine, keys)
			}
		}
	}
}

// Every single thing that the two ends do not agree on gives other keys.
func TestResumedKeysDependOnEverything(t *testing.T) {
	type input struct {
		secret, target [KeySize]byte
		random         [16]byte
		server         ServerID
		cipher         wire.Cipher
		serverSide     bool
	}
	base := input{secretOf(1), secretOf(2), [16]byte{3}, ServerID{4}, ciphers[0], false}
	of := func(i input) Keys { return ResumeKeys(i.secret, i.target, i.random, i.server, i.cipher, i.serverSide) }
	want := of(base)
	mirror := base
	mirror.serverSide = true
	if m := of(mirror); m.Send != want.Receive || m.Receive != want.Send || m.Send == m.Receive {
		t.Fatal("the two sides do not mirror one another")
	}
	for name, change := range map[string]func(*input){
		"secret":         func(i *input) { i.secret[31] ^= 1 },
		"target random":  func(i *input) { i.target[31] ^= 1 },
		"server random":  func(i *input) { i.random[15] ^= 1 },
		"server":         func(i *input) { i.server[15] ^= 1 },
		"cipher":         func(i *input) { i.cipher = ciphers[1] },
		"randoms moved":  func(i *input) { i.target[31], i.random[0] = i.random[0], i.target[31] },
		"server as salt": func(i *input) { i.random, i.server = [16]byte(i.server), ServerID(i.random) },
	} {
		i := base
		change(&i)
		if k := of(i); k.Send == want.Send || k.Receive == want.Receive || k.Send == want.Receive {
			t.Errorf("%s: the same key", name)
		}
	}
	if flightKey(base.secret, base.target, ciphers[0]) == flightKey(base.secret, base.target, ciphers[1]) {
		t.Error("a flight has one key for both ciphers")
	}
}

func TestFlightsAreSentAgainUnchangedAndNeverShareARandom(t *testing.T) {
	farm := NewFarm(secretNew)
	ticket := sealTicket(t, farm, sampleTicket())
	rng := seeded(24)
	seen := make(map[[8]byte]bool)
	for range 5 {
		f, err := NewFlight(rng, farm.Public(), wire.Resume{Cipher: ciphers[0]}, ticket, secretNew, nil)
		if err != nil {
			t.Fatal(err)
		}
		if seen[f.Fingerprint()] {
			t.Fatal("two flights with one key")
		}
		seen[f.Fingerprint()] = true
		if !bytes.Equal(f.Again(nil), f.Again(nil)) {
			t.Fatal("sent again it differs")
		}
	}
}

func TestChangedFlightIsRefused(t *testing.T) {
	farm := NewFarm(secretNew)
	flight := newFlight(t, farm.Public(), ciphers[0], sealTicket(t, farm, sampleTicket()), []byte("frames"))
	datagram := flight.Again(nil)
	end := wire.ResumeSize + TicketSize + wire.RandomSize + 2 + len("frames") + wire.TagSize
	for i := range len(datagram) - wire.MACSize {
		if _, err := farm.OpenResume(flip(datagram, i)); err == nil {
			t.Errorf("byte %d changed: no error", i)
		}
		if i >= 4 && i < end { // whoever knows the farm's public key can make mac1 right again
			forged := flip(datagram, i)
			flight.cookies.AddMacs(forged)
			if _, err := farm.OpenResume(forged); err == nil {
				t.Errorf("byte %d changed, mac1 right: no error", i)
			}
		}
	}
	for n := range datagram {
		if _, err := farm.OpenResume(datagram[:n:n]); err == nil {
			t.Errorf("cut to %d: no error", n)
		}
	}
	if _, err := NewFarm(secretForeign).OpenResume(datagram); !errors.Is(err, ErrForged) {
		t.Errorf("another farm: %v", err)
	}
}

// A ticket that this farm cannot open deserves a hint; the sender has shown that it knows the farm's public key.
func TestFlightWithAForeignTicketIsTold(t *testing.T) {
	farm := NewFarm(secretNew)
	foreign := sealTicket(t, NewFarm(secretForeign), sampleTicket())
	for _, ticket := range [][]byte{foreign, nil, make([]byte, wire.MaxTicket)} {
		if _, err := farm.OpenResume(newFlight(t, farm.Public(), ciphers[0], ticket, nil).Again(nil)); !errors.Is(err, ErrTicket) {
			t.Errorf("ticket of %d bytes: %v", len(ticket), err)
		}
	}
	// A ticket without its secret: whoever recorded one cannot use it.
	ticket := sealTicket(t, farm, sampleTicket())
	stolen, err := NewFlight(seeded(24), farm.Public(), wire.Resume{Cipher: ciphers[0]}, ticket, secretForeign, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := farm.OpenResume(stolen.Again(nil)); !errors.Is(err, ErrForged) {
		t.Errorf("a ticket without its secret: %v", err)
	}
}

func TestFlightCarriesExactlyWhatItSays(t *testing.T) {
	farm := NewFarm(secretNew)
	ticket := sealTicket(t, farm, sampleTicket())
	room := FlightRoom(ticket)
	r, err := farm.OpenResume(newFlight(t, farm.Public(), ciphers[0], ticket, make([]byte, room)).Again(nil))
	if err != nil || len(r.Frames) != room {
		t.Errorf("a full flight: %d of %d bytes, %v", len(r.Frames), room, err)
	}
	for name, c := range map[string]struct {
		ticket, frames int
		cipher         wire.Cipher
		want           error
	}{
		"frames too long": {TicketSize, room + 1, ciphers[0], ErrTooLong},
		"ticket too long": {wire.MaxTicket + 1, 0, ciphers[0], ErrTooLong},
		"unknown cipher":  {TicketSize, 0, 99, ErrMalformed},
	} {
		_, err := NewFlight(seeded(1), farm.Public(), wire.Resume{Cipher: c.cipher}, make([]byte, c.ticket), secretNew, make([]byte, c.frames))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
