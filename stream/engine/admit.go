package engine

import (
	"net/netip"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// Who is what a server knows of a target that logs in or resumes. The MAC
// identifies it and proves nothing; the key is proven with the first sealed
// datagram.
type Who struct {
	Key    secure.PublicKey
	MAC    [6]byte
	Addr   netip.AddrPort
	Resume bool // by ticket: it was served before, by whichever server
	Login  wire.Login
	// Content is what a resuming target goes on using.
	Content wire.Content
}

// Decision is the answer to a log-in.
type Decision struct {
	Result       wire.Result
	Code         wire.Code
	Sentence     string // "" stands for the usual sentence of the code
	RetryAfterMS uint32
	PSK          [32]byte // of the device, zero when it has none
	Disk         wire.Disk
	Image        any // for accept: what the owner reads from; the engine passes it along
	Refer        []wire.Referral
}

// Admitter decides who may log in and where. Its methods must not block: they
// look at state in memory. They may be called from several goroutines.
type Admitter interface {
	// Admit decides about a log-in or a resumption. It must not change anything
	// that counts: the message may be a replay.
	Admit(Who) Decision
	// Confirmed tells that the target of a session has proven itself.
	Confirmed(*Session)
	// Ended tells that a confirmed session is over.
	Ended(*Session)
	// Alternates ranks the other servers for a target, best first.
	Alternates(Who, wire.Content) wire.Alternates
}

// Job is a read that a session needs from its image. The owner reads
// [From, To) of the answer, or as much of it as one buffer holds from From on,
// and gives the bytes to [Session.Complete].
type Job struct {
	Session  *Session
	Slot     int
	ID       uint32
	Level    uint8
	Demand   bool
	First    int64
	Count    int
	From, To int
	Arrived  Instant
}

// Buffer holds bytes of an answer until they have been sent.
type Buffer interface {
	Bytes() []byte
	Free() // called once, by whoever uses the bytes last
}
