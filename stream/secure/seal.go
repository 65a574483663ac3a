package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/spate-project/spate/stream/wire"
)

// How many datagrams a key seals.
const (
	// RenewAfter is when a session should be replaced by a new one.
	RenewAfter = 1 << 26
	// MaxCounter is the first counter that is neither sealed nor opened.
	MaxCounter = 1 << 27
)

const nonceSize = 12

// newAEAD makes the cipher of a session. c was checked by whoever let it in.
func newAEAD(key [KeySize]byte, c wire.Cipher) cipher.AEAD {
	var aead cipher.AEAD
	var err error
	switch c {
	case wire.CipherAES256GCM:
		var block cipher.Block
		if block, err = aes.NewCipher(key[:]); err == nil {
			aead, err = cipher.NewGCM(block)
		}
	case wire.CipherChaCha20Poly1305:
		aead, err = chacha20poly1305.New(key[:])
	default:
		panic("secure: " + c.String() + " was not refused")
	}
	if err != nil {
		panic("secure: cipher with a key of 32 bytes: " + err.Error())
	}
	if aead.NonceSize() != nonceSize || aead.Overhead() != wire.TagSize {
		panic("secure: cipher with another nonce or tag")
	}
	return aead
}

// putNonce writes the counter into a nonce. Each direction of each session has a key of its own, so the counter is enough.
func putNonce(nonce *[nonceSize]byte, counter uint64) {
	binary.LittleEndian.PutUint64(nonce[nonceSize-8:], counter)
}

// Sealer seals the datagrams of one direction of one session, each with the next counter. It belongs to one goroutine.
type Sealer struct {
	aead        cipher.AEAD
	counter     uint64
	nonce       [nonceSize]byte // kept here: a local one would escape to the heap
	fingerprint [8]byte
}

// NewSealer makes a sealer that begins with counter 0. There must never be two for one key.
func NewSealer(key [KeySize]byte, c wire.Cipher) *Sealer {
	return &Sealer{aead: newAEAD(key, c), fingerprint: fingerprint(key)}
}

// fingerprint names a key without telling anything about it.
func fingerprint(key [KeySize]byte) (f [8]byte) {
	sum := sha256.Sum256(append([]byte("spate fingerprint v1\x00"), key[:]...))
	copy(f[:], sum[:])
	return f
}

// Counter is how many datagrams have been sealed, and the counter of the next one.
func (s *Sealer) Counter() uint64 { return s.counter }

// Spent tells that nothing more can be sealed. A server must ask before it seals: a target that never renews its session would
// otherwise lead it to the end.
func (s *Sealer) Spent() bool { return s.counter >= MaxCounter }

// Fingerprint names the key, for tests that watch over (key, counter) pairs.
func (s *Sealer) Fingerprint() [8]byte { return s.fingerprint }

// Seal makes a Sealed datagram in place. buf is wire.SealedSize bytes of room and the frames behind it, and has a capacity of
// wire.TagSize bytes more. What is returned is buf with the tag. It panics at MaxCounter and when the capacity is missing.
func (s *Sealer) Seal(buf []byte, receiver uint32) []byte {
	counter := s.next(buf, wire.SealedSize)
	wire.Sealed{Receiver: receiver, Counter: counter}.Append(buf[:0])
	return s.seal(buf, wire.SealedSize)
}

// SealFirst makes a SealedFirst datagram in place, like Seal with wire.SealedFirstSize bytes of room. head.Counter is set here.
func (s *Sealer) SealFirst(buf []byte, head wire.SealedFirst) []byte {
	head.Counter = s.next(buf, wire.SealedFirstSize)
	head.Append(buf[:0])
	return s.seal(buf, wire.SealedFirstSize)
}

func (s *Sealer) next(buf []byte, header int) uint64 {
	if len(buf) < header || cap(buf) < len(buf)+wire.TagSize {
		panic("secure: no room for header or tag")
	}
	if s.counter >= MaxCounter {
		panic("secure: key is spent, the session should have been renewed")
	}
	counter := s.counter
	s.counter++
	putNonce(&s.nonce, counter)
	return counter
}

func (s *Sealer) seal(buf []byte, header int) []byte {
	sealed := s.aead.Seal(buf[header:header], s.nonce[:], buf[header:], buf[:header])
	return buf[: header+len(sealed) : cap(buf)]
}

// String hides the key.
func (*Sealer) String() string { return mask }

// GoString hides the key.
func (*Sealer) GoString() string { return mask }

// Format hides the key from every verb of package fmt.
func (*Sealer) Format(f fmt.State, _ rune) { hide(f) }

// Opener opens the datagrams of one direction of one session, each counter once. It belongs to one goroutine.
type Opener struct {
	aead  cipher.AEAD
	nonce [nonceSize]byte
	seen  window
}

// Replay windows, in datagrams. Toward the target whole windows of answers overtake one another; toward the server there are only requests.
const (
	WindowTarget = 1 << 16
	WindowServer = 1 << 11
)

// NewOpener makes an opener with a replay window of so many datagrams.
func NewOpener(key [KeySize]byte, c wire.Cipher, datagrams int) *Opener {
	return &Opener{aead: newAEAD(key, c), seen: newWindow(datagrams)}
}

// Open opens a Sealed or SealedFirst datagram in place; frames alias it. A datagram that does not open is destroyed, and nothing
// else is changed by it. Errors are ErrMalformed, ErrReplay and ErrForged.
func (o *Opener) Open(datagram []byte) (frames []byte, counter uint64, err error) {
	header := wire.SealedSize
	kind, err := wire.Peek(datagram)
	switch {
	case err != nil:
		return nil, 0, fromWire(err)
	case kind == wire.KindSealedFirst:
		header = wire.SealedFirstSize
	case kind != wire.KindSealed:
		return nil, 0, ErrMalformed
	}
	if len(datagram) < header+wire.TagSize || len(datagram) > wire.MaxDatagram {
		return nil, 0, ErrMalformed
	}
	counter = binary.LittleEndian.Uint64(datagram[8:])
	if counter >= MaxCounter {
		return nil, 0, ErrMalformed
	}
	if !o.seen.fresh(counter) {
		return nil, counter, ErrReplay
	}
	putNonce(&o.nonce, counter)
	sealed := datagram[header:]
	frames, err = o.aead.Open(sealed[:0], o.nonce[:], sealed, datagram[:header])
	if err != nil {
		return nil, counter, ErrForged
	}
	o.seen.mark(counter)
	return frames, counter, nil
}

// Highest is the highest counter that was opened; ok is false before the first.
func (o *Opener) Highest() (counter uint64, ok bool) { return max(o.seen.next, 1) - 1, o.seen.next > 0 }

// String hides the key.
func (*Opener) String() string { return mask }

// GoString hides the key.
func (*Opener) GoString() string { return mask }

// Format hides the key from every verb of package fmt.
func (*Opener) Format(f fmt.State, _ rune) { hide(f) }
