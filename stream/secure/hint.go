package secure

import (
	"encoding/binary"
	"errors"

	"github.com/spate-project/spate/stream/wire"
)

// AppendHint appends the unsealed hint that a datagram deserves. It appends nothing when the hint would be longer than its cause,
// or when the cause is not of a kind that such a hint answers: a hint never answers a hint, whoever forges what.
func AppendHint(dst, cause []byte, code wire.HintCode) []byte {
	kind, err := wire.Peek(cause)
	index, ok := wire.Index(cause)
	if !ok || err != nil && !errors.Is(err, wire.ErrVersion) || !answers(code, kind) {
		return dst
	}
	h := wire.Hint{Receiver: index, Hint: code, MinVersion: wire.MinProtocol, MaxVersion: wire.MaxProtocol}
	if code == wire.HintUnknownSession {
		if len(cause) < wire.SealedSize {
			return dst
		}
		h.Counter = binary.LittleEndian.Uint64(cause[8:])
	}
	answer := h.Append(dst)
	if !Allowed(len(answer)-len(dst), len(cause)) {
		return dst
	}
	return answer
}

// Allowed is the rule for every answer before the address is proven: it is not longer than what it answers.
func Allowed(answer, cause int) bool { return answer <= cause }

// answers tells whether a hint can answer a datagram of a kind.
func answers(code wire.HintCode, kind wire.Kind) bool {
	switch code {
	case wire.HintVersion:
		return kind == wire.KindHello || kind == wire.KindResume
	case wire.HintOtherFarm:
		return kind == wire.KindHello
	case wire.HintUnknownSession:
		return kind == wire.KindSealed
	case wire.HintTicketRefused:
		return kind == wire.KindResume
	}
	return false
}
