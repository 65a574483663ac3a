package secure

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/spate-project/spate/stream/wire"
)

// Labels of the keys of a resumption.
const (
	labelFlight  = "spate resume flight v1"
	labelSession = "spate resumed session v1"
)

// flightKey seals the reads that travel with a ticket. It is used once, with a nonce of zeros: the target's random is fresh for
// each flight, and a flight that is sent again is the same bytes.
func flightKey(secret [KeySize]byte, random [wire.RandomSize]byte, c wire.Cipher) [KeySize]byte {
	return derive(secret[:], random[:], labelFlight+string([]byte{byte(c)}))
}

// ResumeKeys gives the keys of a resumed session. Everything that is not agreed on gives other keys: the ticket's secret, both
// randoms, the server that answers, the cipher, the direction.
func ResumeKeys(
	secret [KeySize]byte, targetRandom [wire.RandomSize]byte, serverRandom [wire.ServerRandomSize]byte,
	server ServerID, c wire.Cipher, serverSide bool,
) Keys {
	var salt [wire.RandomSize + wire.ServerRandomSize]byte
	copy(salt[:], targetRandom[:])
	copy(salt[wire.RandomSize:], serverRandom[:])
	info := append([]byte(labelSession), server[:]...)
	b, err := hkdf.Key(sha256.New, secret[:], salt[:], string(append(info, byte(c))), 2*KeySize)
	if err != nil {
		panic("secure: HKDF of 64 bytes: " + err.Error())
	}
	k := Keys{Send: [KeySize]byte(b[:KeySize]), Receive: [KeySize]byte(b[KeySize:]), Cipher: c}
	if serverSide {
		k.Send, k.Receive = k.Receive, k.Send
	}
	return k
}

// FlightRoom is how many bytes of frames travel with a ticket.
func FlightRoom(ticket []byte) int { return wire.ResumeRoom(wire.FirstSize, len(ticket)) }

// Flight is the target's side of one resumption at one server: a ticket and the reads that are pending. It belongs to one goroutine.
type Flight struct {
	first
	head   wire.Resume
	secret [KeySize]byte
	random [wire.RandomSize]byte
}

// NewFlight seals the frames (reads only) for one server. Each server and each content needs a flight of its own, since its random
// is drawn here. ErrTooLong means that ticket or frames are longer than fits (FlightRoom).
func NewFlight(
	rng io.Reader, farm PublicKey, head wire.Resume, ticket []byte, secret [KeySize]byte, frames []byte,
) (*Flight, error) {
	switch {
	case len(ticket) > wire.MaxTicket || len(frames) > FlightRoom(ticket):
		return nil, ErrTooLong
	case !head.Cipher.Known():
		return nil, ErrMalformed
	}
	f := &Flight{head: head, secret: secret}
	if _, err := io.ReadFull(rng, f.random[:]); err != nil {
		return nil, fmt.Errorf("draw the random of a ticket flight: %w", err)
	}
	b := wire.AppendResumeHead(make([]byte, 0, wire.FirstSize), head, ticket, f.random, len(frames)+wire.TagSize)
	var nonce [nonceSize]byte
	b = newAEAD(flightKey(secret, f.random, head.Cipher), head.Cipher).Seal(b, nonce[:], frames, b)
	f.pad(farm, b, head.Index)
	return f, nil
}

// Again appends the whole datagram to dst, each time byte by byte the same, but for mac2 when a cookie is held.
func (f *Flight) Again(dst []byte) []byte { return f.again(dst) }

// Cookie takes a server's Cookie for this flight. After an error nothing has changed.
func (f *Flight) Cookie(datagram []byte) error { return f.cookie(datagram) }

// Keys gives the keys of the session with the server that sent this header. Whether they are right shows when the datagram opens.
// The caller makes at most one Sealer of them, and only after that.
func (f *Flight) Keys(answer wire.SealedFirst) Keys {
	return ResumeKeys(f.secret, f.random, answer.Random, ServerID(answer.Server), f.head.Cipher, false)
}

// Fingerprint names the key of the flight, for tests that watch over (key, counter) pairs; its counter is 0.
func (f *Flight) Fingerprint() [8]byte {
	return fingerprint(flightKey(f.secret, f.random, f.head.Cipher))
}

// String hides the keys.
func (*Flight) String() string { return mask }

// GoString hides the keys.
func (*Flight) GoString() string { return mask }

// Format hides the keys from every verb of package fmt.
func (*Flight) Format(s fmt.State, _ rune) { hide(s) }

// Resumption is a ticket flight that a server has opened. It can be replayed: ID tells which ticket was used.
type Resumption struct {
	Head         wire.Resume
	Ticket       Ticket
	ID           [TicketIDSize]byte
	TargetRandom [wire.RandomSize]byte
	Frames       []byte // its own copy
}

// Keys gives the server's keys of the session, with a random that the server has drawn for this session alone.
func (r Resumption) Keys(serverRandom [wire.ServerRandomSize]byte, server ServerID) Keys {
	return ResumeKeys(r.Ticket.Secret, r.TargetRandom, serverRandom, server, r.Head.Cipher, true)
}

// OpenResume checks and opens a target's ticket flight. Errors are ErrMalformed, ErrVersion, ErrForged (a MAC or the seal of the
// frames does not fit) and ErrTicket, which deserves a hint. No key exchange is done. The datagram is not changed.
func (f *Farm) OpenResume(datagram []byte) (Resumption, error) {
	head, body, err := wire.ParseResume(datagram)
	if err != nil {
		return Resumption{}, fromWire(err)
	}
	if !head.Cipher.Known() {
		return Resumption{}, ErrMalformed
	}
	if _, ok := f.checkMAC1(datagram); !ok {
		return Resumption{}, ErrForged
	}
	t, id, err := f.OpenTicket(body.Ticket)
	if err != nil {
		return Resumption{}, err
	}
	var nonce [nonceSize]byte
	aead := newAEAD(flightKey(t.Secret, body.Random, head.Cipher), head.Cipher)
	frames, err := aead.Open(nil, nonce[:], body.Sealed, body.Clear)
	if err != nil {
		return Resumption{}, ErrForged
	}
	return Resumption{Head: head, Ticket: t, ID: id, TargetRandom: body.Random, Frames: frames}, nil
}
