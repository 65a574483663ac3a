package secure

import (
	"errors"

	"github.com/spate-project/spate/stream/wire"
)

// What can be wrong with a datagram. None of these carries details: they are counted, and nobody outside learns more.
var (
	// ErrMalformed: not a datagram of the kind expected.
	ErrMalformed = errors.New("secure: malformed datagram")
	// ErrVersion: wire or protocol version not spoken here.
	ErrVersion = errors.New("secure: protocol version not spoken here")
	// ErrOtherFarm: the farm key that is named is not one of this farm.
	ErrOtherFarm = errors.New("secure: farm key of another farm")
	// ErrForged: a MAC or a seal does not fit. For a Welcome this can also mean that the pre-shared keys differ.
	ErrForged = errors.New("secure: seal does not fit")
	// ErrReplay: the counter was seen before, or is older than the window.
	ErrReplay = errors.New("secure: counter seen before or too old")
	// ErrTicket: a ticket of an unknown key, or one that was changed.
	ErrTicket = errors.New("secure: ticket cannot be opened")
	// ErrTooLong: what should be sent does not fit in the datagram that may be sent.
	ErrTooLong = errors.New("secure: does not fit in the datagram")
	// ErrState: a step of a handshake was asked for out of order.
	ErrState = errors.New("secure: handshake step out of order")
)

// fromWire maps errors of package wire to ours.
func fromWire(err error) error {
	if errors.Is(err, wire.ErrVersion) {
		return ErrVersion
	}
	return ErrMalformed
}
