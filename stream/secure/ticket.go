package secure

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/spate-project/spate/stream/wire"
)

// Layout of a ticket: epoch u32, mark [4] (first bytes of the farm key's id), nonce [24], and sealed with these as additional data
// for the first two: version u8, device [32], mac [6], root [32], timestamp i64, secret [32], address [16], flags u8.
const (
	ticketVersion   = 1
	ticketMark      = 4
	ticketKeyIDSize = 4 + ticketMark
	ticketBody      = 1 + KeySize + 6 + 32 + 8 + KeySize + 16 + 1

	// TicketIDSize is the size of a ticket's id, which is also the nonce of its seal.
	TicketIDSize = chacha20poly1305.NonceSizeX
	// TicketSize is the size of a ticket.
	TicketSize = ticketKeyIDSize + TicketIDSize + ticketBody + chacha20poly1305.Overhead
)

var _ [wire.MaxTicket - TicketSize]struct{}

// Ticket is what a server needs to resume a session that another one began. Targets carry it and cannot read it.
type Ticket struct {
	Device    PublicKey
	MAC       [6]byte
	Root      [32]byte // content: root and timestamp
	Timestamp int64
	Secret    [KeySize]byte // made by the issuing server; the target holds it too
	Addr      netip.Addr    // where the target was; zero: not bound to an address
	Epoch     uint32        // of the ticket key; the caller judges which ones are valid
	Flags     uint8
}

// String hides the secret.
func (Ticket) String() string { return mask }

// GoString hides the secret.
func (Ticket) GoString() string { return mask }

// Format hides the secret from every verb of package fmt.
func (Ticket) Format(f fmt.State, _ rune) { hide(f) }

// MarshalText hides the secret from JSON, YAML and log encoders.
func (Ticket) MarshalText() ([]byte, error) { return []byte(mask), nil }

// ticketAEAD is the cipher of one epoch.
func (g *generation) ticketAEAD(epoch uint32) cipher.AEAD {
	info := binary.LittleEndian.AppendUint32([]byte(labelTicket), epoch)
	key, err := hkdf.Expand(sha256.New, g.tickets, string(info), KeySize)
	if err != nil {
		panic("secure: HKDF of 32 bytes: " + err.Error())
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		panic("secure: cipher with a key of 32 bytes: " + err.Error())
	}
	return aead
}

// SealTicket seals a ticket under the key of its epoch. Its id, drawn from rng, is the nonce.
func (f *Farm) SealTicket(rng io.Reader, t Ticket) ([]byte, error) {
	g := f.generations[0]
	b := make([]byte, 0, TicketSize)
	b = binary.LittleEndian.AppendUint32(b, t.Epoch)
	b = append(b, g.id[:ticketMark]...)
	b = b[:ticketKeyIDSize+TicketIDSize]
	if _, err := io.ReadFull(rng, b[ticketKeyIDSize:]); err != nil {
		return nil, fmt.Errorf("draw the id of a ticket: %w", err)
	}
	var addr [16]byte
	if t.Addr.IsValid() {
		addr = t.Addr.As16()
	}
	body := append(make([]byte, 0, ticketBody), ticketVersion)
	body = append(body, t.Device[:]...)
	body = append(body, t.MAC[:]...)
	body = append(body, t.Root[:]...)
	body = binary.LittleEndian.AppendUint64(body, uint64(t.Timestamp))
	body = append(body, t.Secret[:]...)
	body = append(body, addr[:]...)
	body = append(body, t.Flags)
	return g.ticketAEAD(t.Epoch).Seal(b, b[ticketKeyIDSize:], body, b[:ticketKeyIDSize]), nil
}

// OpenTicket opens a ticket of any epoch and generation; the caller judges t.Epoch and whether id was used. The error is ErrTicket.
func (f *Farm) OpenTicket(b []byte) (t Ticket, id [TicketIDSize]byte, err error) {
	if len(b) != TicketSize {
		return Ticket{}, id, ErrTicket
	}
	t.Epoch = binary.LittleEndian.Uint32(b)
	copy(id[:], b[ticketKeyIDSize:])
	for _, g := range f.generations {
		// Marks are not secret. Two generations may have the same one, so a failure is not the end.
		if !bytes.Equal(g.id[:ticketMark], b[4:ticketKeyIDSize]) {
			continue
		}
		body, err := g.ticketAEAD(t.Epoch).Open(nil, id[:], b[ticketKeyIDSize+TicketIDSize:], b[:ticketKeyIDSize])
		if err == nil && body[0] == ticketVersion {
			t.read(body[1:])
			return t, id, nil
		}
	}
	return Ticket{}, [TicketIDSize]byte{}, ErrTicket
}

// read takes the fields from a body of the right length.
func (t *Ticket) read(b []byte) {
	copy(t.Device[:], b)
	b = b[KeySize:]
	copy(t.MAC[:], b)
	b = b[len(t.MAC):]
	copy(t.Root[:], b)
	b = b[len(t.Root):]
	t.Timestamp = int64(binary.LittleEndian.Uint64(b))
	b = b[8:]
	copy(t.Secret[:], b)
	b = b[KeySize:]
	if a := [16]byte(b); a != [16]byte{} {
		t.Addr = netip.AddrFrom16(a).Unmap()
	}
	t.Flags = b[16]
}
