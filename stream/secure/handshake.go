package secure

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/flynn/noise"
	"golang.org/x/crypto/curve25519"

	"github.com/spate-project/spate/stream/wire"
)

// suite and pattern make Noise_IKpsk2_25519_ChaChaPoly_SHA256. There is no other.
var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256)

const (
	prologueLabel = "spate handshake v1\x00"
	pskPlacement  = 2

	noise1Overhead = 32 + (32 + 16) + 16 // ephemeral key, sealed static key, tag
	noise2Overhead = 32 + 16             // ephemeral key, tag
	indexSize      = 4                   // the server's index, repeated inside the seal

	// HelloRoom is how many bytes of log-in a Hello carries.
	HelloRoom = wire.FirstSize - wire.HelloSize - wire.MACsSize - noise1Overhead
	// WelcomeRoom is how many bytes of reply a Welcome carries: it is never longer than a Hello of wire.FirstSize.
	WelcomeRoom = wire.FirstSize - wire.WelcomeSize - noise2Overhead - indexSize
)

// A log-in and its reply always fit.
var (
	_ [HelloRoom - wire.MaxLogin]struct{}
	_ [WelcomeRoom - wire.MaxLoginReply]struct{}
)

// prologue binds the whole clear header of the Hello into the handshake.
func prologue(header []byte) []byte {
	return append([]byte(prologueLabel), header[:wire.HelloSize]...)
}

// Initiator is the target's side of one handshake with one server. It belongs to one goroutine.
type Initiator struct {
	first
	rng    io.Reader
	device PrivateKey
	farm   PublicKey
	psk    [KeySize]byte
	head   wire.Hello
	state  *noise.HandshakeState
	done   bool
}

// NewInitiator begins a handshake; psk is 32 zero bytes when there is none. Each server that is asked needs an Initiator of its own.
func NewInitiator(rng io.Reader, device PrivateKey, farm PublicKey, psk [KeySize]byte) (*Initiator, error) {
	// A farm key of low order would make the handshake's secrets known to everybody.
	if lowOrder(farm[:]) {
		return nil, fmt.Errorf("start a handshake: the farm key is not a usable key: %w", ErrForged)
	}
	return &Initiator{rng: rng, device: device, farm: farm, psk: psk}, nil
}

// lowOrder tells whether the shared secret with this key is zero whoever computes it.
func lowOrder(public []byte) bool {
	var scalar [KeySize]byte // any will do: clamping makes each a multiple of the cofactor
	_, err := curve25519.X25519(scalar[:], public)
	return err != nil
}

// Hello appends the first message to dst, a whole datagram. head.FarmKey and head.NoiseLength are set here. It can be called once;
// Again sends the same again. The login is at most HelloRoom bytes.
func (h *Initiator) Hello(dst []byte, head wire.Hello, login []byte) ([]byte, error) {
	switch {
	case h.state != nil:
		return nil, ErrState
	case len(login) > HelloRoom:
		return nil, ErrTooLong
	case !head.Cipher.Known():
		return nil, ErrMalformed
	}
	head.FarmKey = h.farm.ID()
	head.NoiseLength = uint16(noise1Overhead + len(login))
	datagram := head.Append(make([]byte, 0, wire.FirstSize))
	public := h.device.Public()
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Pattern: noise.HandshakeIK, Initiator: true, Random: h.rng,
		Prologue: prologue(datagram), PresharedKey: h.psk[:], PresharedKeyPlacement: pskPlacement,
		StaticKeypair: noise.DHKey{Private: h.device[:], Public: public[:]}, PeerStatic: h.farm[:],
	})
	if err != nil {
		return nil, fmt.Errorf("start a handshake: %w", err)
	}
	datagram, _, _, err = state.WriteMessage(datagram, login)
	if err != nil {
		return nil, fmt.Errorf("write the first message of a handshake: %w", err)
	}
	h.head, h.state = head, state
	h.pad(h.farm, datagram, head.Index)
	return append(dst, h.datagram...), nil
}

// Again appends the Hello to dst once more, byte by byte the same, but for mac2 when a cookie is held.
func (h *Initiator) Again(dst []byte) []byte { return h.again(dst) }

// Cookie takes a server's Cookie for this Hello. After an error nothing has changed.
func (h *Initiator) Cookie(datagram []byte) error { return h.cookie(datagram) }

// Welcome reads the server's message and ends the handshake. After an error nothing has changed, so that a forged Welcome cannot
// keep the true one from being read. ErrForged can also mean that the pre-shared keys differ. head.Index is the one that the server
// has sealed. The datagram is not changed.
func (h *Initiator) Welcome(datagram []byte) (reply []byte, head wire.Welcome, keys Keys, err error) {
	if h.state == nil || h.done {
		return nil, wire.Welcome{}, Keys{}, ErrState
	}
	head, message, err := wire.ParseWelcome(datagram)
	switch {
	case err != nil:
		return nil, wire.Welcome{}, Keys{}, fromWire(err)
	case head.Receiver != h.head.Index:
		return nil, wire.Welcome{}, Keys{}, ErrForged
	case len(message) < noise2Overhead+indexSize || len(datagram) > len(h.datagram):
		return nil, wire.Welcome{}, Keys{}, ErrMalformed
	case lowOrder(message[:KeySize]):
		// The noise library undoes what a message that fails has done, except when the key exchange itself fails.
		return nil, wire.Welcome{}, Keys{}, ErrForged
	}
	payload, send, receive, err := h.state.ReadMessage(nil, message)
	if err != nil {
		return nil, wire.Welcome{}, Keys{}, ErrForged
	}
	// The clear index is not sealed and may have been changed on the way; refusing it here would end the handshake, since the noise
	// state has moved on. The sealed one counts.
	head.Index = binary.LittleEndian.Uint32(payload)
	h.done = true
	keys = Keys{Send: send.UnsafeKey(), Receive: receive.UnsafeKey(), Cipher: h.head.Cipher}
	return payload[indexSize:], head, keys, nil
}

// String hides the keys.
func (*Initiator) String() string { return mask }

// GoString hides the keys.
func (*Initiator) GoString() string { return mask }

// Format hides the keys from every verb of package fmt.
func (*Initiator) Format(f fmt.State, _ rune) { hide(f) }

// Responder is the server's side of one handshake: a Hello that was opened. A Hello can be replayed, so nothing may be changed
// on the strength of it. It belongs to one goroutine.
type Responder struct {
	Head   wire.Hello
	Login  []byte    // its own copy
	Device PublicKey // proven only when the target's first sealed datagram comes

	state *noise.HandshakeState
	rng   *lateReader
	limit int // length of the Hello: the Welcome is not longer
}

// lateReader is a source of randomness that is named after the state that uses it was made.
type lateReader struct{ io.Reader }

// OpenHello checks and opens a target's Hello. Errors are ErrMalformed, ErrVersion, ErrOtherFarm and ErrForged, in the order in
// which things are looked at; a MAC is checked before any key exchange is done. The datagram is not changed.
func (f *Farm) OpenHello(datagram []byte) (*Responder, error) {
	head, message, err := wire.ParseHello(datagram)
	if err != nil {
		return nil, fromWire(err)
	}
	if head.MinVersion > wire.MaxProtocol || head.MaxVersion < wire.MinProtocol {
		return nil, ErrVersion
	}
	g := f.byID(head.FarmKey)
	switch {
	case g == nil:
		return nil, ErrOtherFarm
	case !head.Cipher.Known() || head.MinVersion > head.MaxVersion:
		return nil, ErrMalformed
	case !g.mac1.CheckMAC1(datagram):
		return nil, ErrForged
	}
	r := &Responder{Head: head, rng: new(lateReader), limit: len(datagram)}
	r.state, err = noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Pattern: noise.HandshakeIK, Random: r.rng,
		Prologue: prologue(datagram), PresharedKeyPlacement: pskPlacement,
		StaticKeypair: noise.DHKey{Private: g.private[:], Public: g.public[:]},
	})
	if err != nil {
		return nil, fmt.Errorf("answer a handshake: %w", err)
	}
	r.Login, _, _, err = r.state.ReadMessage(nil, message)
	if err != nil {
		return nil, ErrForged
	}
	copy(r.Device[:], r.state.PeerStatic())
	return r, nil
}

// Welcome appends the server's message to dst, a whole datagram, and gives the keys of the session. head.Receiver and
// head.NoiseLength are set here; psk is 32 zero bytes when the device has none. It can be called once. ErrTooLong means that the
// Welcome would be longer than the Hello.
func (r *Responder) Welcome(rng io.Reader, dst []byte, head wire.Welcome, psk [KeySize]byte, reply []byte) ([]byte, Keys, error) {
	size := noise2Overhead + indexSize + len(reply)
	if wire.WelcomeSize+size > min(r.limit, wire.MaxDatagram) {
		return nil, Keys{}, ErrTooLong
	}
	head.Receiver, head.NoiseLength = r.Head.Index, uint16(size)
	if err := r.state.SetPresharedKey(psk[:]); err != nil {
		return nil, Keys{}, fmt.Errorf("answer a handshake: %w", err)
	}
	r.rng.Reader = rng
	payload := binary.LittleEndian.AppendUint32(make([]byte, 0, indexSize+len(reply)), head.Index)
	datagram, receive, send, err := r.state.WriteMessage(head.Append(dst), append(payload, reply...))
	if err != nil {
		return nil, Keys{}, fmt.Errorf("answer a handshake: %w", err)
	}
	return datagram, Keys{Send: send.UnsafeKey(), Receive: receive.UnsafeKey(), Cipher: r.Head.Cipher}, nil
}

// String hides the keys.
func (*Responder) String() string { return mask }

// GoString hides the keys.
func (*Responder) GoString() string { return mask }

// Format hides the keys from every verb of package fmt.
func (*Responder) Format(f fmt.State, _ rune) { hide(f) }
