package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
)

// MaxAlternates is how many servers an Alternates frame can name.
const MaxAlternates = 8

// GoingAwayReason says why a server sends its targets away.
type GoingAwayReason uint8

// The reasons.
const (
	AwayStopped   GoingAwayReason = 1 // the stream service is being stopped
	AwayShutdown  GoingAwayReason = 2 // the server program ends
	AwayRebalance GoingAwayReason = 3 // another server has less to do
	AwayStore     GoingAwayReason = 4 // the store or this vDisk is being taken away
	AwayWithdrawn GoingAwayReason = 5 // the request with the number before this one does not hold any more: stay
)

// String is the reason in words.
func (g GoingAwayReason) String() string {
	switch g {
	case AwayStopped:
		return "stream service stopped"
	case AwayShutdown:
		return "server shuts down"
	case AwayRebalance:
		return "rebalance"
	case AwayStore:
		return "store taken away"
	case AwayWithdrawn:
		return "withdrawn"
	}
	return "reason " + strconv.Itoa(int(g))
}

// GoingAway asks the target to move. It is repeated until acknowledged; the server serves on until the target has moved.
type GoingAway struct {
	Number     uint32 // of this request; a repetition has the same
	Reason     GoingAwayReason
	DeadlineMS uint32 // from now; then the server ends
	SlotMS     uint32 // from now; when this target should move, so that not all do at once
	Proposed   string // server; may be empty
}

// Type is FrameGoingAway.
func (GoingAway) Type() FrameType { return FrameGoingAway }

// Append appends the frame to dst.
func (f GoingAway) Append(dst []byte) []byte {
	dst, at := begin(dst, FrameGoingAway)
	dst = binary.LittleEndian.AppendUint32(dst, f.Number)
	dst = append(dst, byte(f.Reason))
	dst = binary.LittleEndian.AppendUint32(dst, f.DeadlineMS)
	dst = binary.LittleEndian.AppendUint32(dst, f.SlotMS)
	return end(appendText(dst, f.Proposed, MaxName), at)
}

// ParseGoingAway reads the body of a GoingAway frame.
func ParseGoingAway(body []byte) (GoingAway, error) {
	r := reader{b: body}
	f := GoingAway{
		Number: r.u32(), Reason: GoingAwayReason(r.u8()), DeadlineMS: r.u32(), SlotMS: r.u32(), Proposed: r.text(MaxName),
	}
	if err := r.err("going-away"); err != nil {
		return GoingAway{}, err
	}
	return f, nil
}

// GoingAwayAck acknowledges a GoingAway.
type GoingAwayAck struct {
	Number uint32
}

// Type is FrameGoingAwayAck.
func (GoingAwayAck) Type() FrameType { return FrameGoingAwayAck }

// Append appends the frame to dst.
func (f GoingAwayAck) Append(dst []byte) []byte { return appendU32(dst, FrameGoingAwayAck, f.Number) }

// ParseGoingAwayAck reads the body of a GoingAwayAck frame.
func ParseGoingAwayAck(body []byte) (GoingAwayAck, error) {
	v, err := parseU32(body, "going-away ack")
	return GoingAwayAck{v}, err
}

// ServerState is what is known of another server.
type ServerState uint8

// The states. Only the first can be moved to with hope.
const (
	StateServing     ServerState = 1
	StateGoingAway   ServerState = 2 // sends its targets away
	StateStopped     ServerState = 3 // alive, its stream service is stopped
	StateUnreachable ServerState = 4
	StateFull        ServerState = 5
	StateNoReplica   ServerState = 6 // holds no identical replica
)

// String is the state in words, as `spate-target status` shows it.
func (s ServerState) String() string {
	switch s {
	case StateServing:
		return "serving"
	case StateGoingAway:
		return "going away"
	case StateStopped:
		return "stream service stopped"
	case StateUnreachable:
		return "not reachable"
	case StateFull:
		return "full"
	case StateNoReplica:
		return "no identical replica"
	}
	return "state " + strconv.Itoa(int(s))
}

// Alternate is a server that the target could move to.
type Alternate struct {
	Name     string
	ID       [ServerIDSize]byte // zero when it is not known
	Addr     netip.AddrPort     // IPv4 unmapped
	State    ServerState
	Load     uint16 // in 1/1000
	SameZone bool
}

// Alternates are ranked, the best first.
type Alternates struct {
	List []Alternate // at most MaxAlternates
	Note string      // one sentence for people; may be empty
}

// Type is FrameAlternates.
func (Alternates) Type() FrameType { return FrameAlternates }

// Append appends the frame to dst.
func (f Alternates) Append(dst []byte) []byte {
	dst, at := begin(dst, FrameAlternates)
	list := f.List[:min(len(f.List), MaxAlternates)]
	dst = append(dst, byte(len(list)))
	for _, a := range list {
		dst = appendText(dst, a.Name, MaxName)
		dst = append(dst, a.ID[:]...)
		dst = appendAddr(dst, a.Addr)
		dst = append(dst, byte(a.State))
		dst = binary.LittleEndian.AppendUint16(dst, a.Load)
		dst = appendBool(dst, a.SameZone)
	}
	return end(appendText(dst, f.Note, MaxSentence), at)
}

// ParseAlternates reads the body of an Alternates frame. The result is a copy.
func ParseAlternates(body []byte) (Alternates, error) {
	r := reader{b: body}
	n := int(r.u8())
	if n > MaxAlternates {
		return Alternates{}, malformed("alternates", "too many servers")
	}
	var f Alternates
	if n > 0 {
		f.List = make([]Alternate, n)
	}
	for i := range f.List {
		a := &f.List[i]
		a.Name = r.text(MaxName)
		r.bytes(a.ID[:])
		a.Addr, a.State, a.Load, a.SameZone = r.addr(), ServerState(r.u8()), r.u16(), r.bool()
	}
	f.Note = r.text(MaxSentence)
	if err := r.err("alternates"); err != nil {
		return Alternates{}, err
	}
	return f, nil
}

// Ticket lets the target resume at any server of the farm without a handshake.
type Ticket struct {
	Ticket     []byte // at most MaxTicket; when parsed: aliases the datagram
	Secret     [32]byte
	LifetimeMS uint32 // a duration, since clocks of two machines are never compared
}

// Type is FrameTicket.
func (Ticket) Type() FrameType { return FrameTicket }

// String hides ticket and secret.
func (Ticket) String() string { return "ticket (secret)" }

// GoString hides ticket and secret.
func (Ticket) GoString() string { return "wire.Ticket{secret}" }

// Format hides ticket and secret from every verb of package fmt.
func (Ticket) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("ticket (secret)")) }

// Append appends the frame to dst.
func (f Ticket) Append(dst []byte) []byte {
	dst, at := begin(dst, FrameTicket)
	return end(f.append(dst), at)
}

// append panics when the ticket is longer than MaxTicket: tickets are made here, never passed on from outside.
func (f Ticket) append(dst []byte) []byte {
	if len(f.Ticket) > MaxTicket {
		panic("wire: ticket of " + strconv.Itoa(len(f.Ticket)) + " bytes")
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(f.Ticket)))
	dst = append(dst, f.Ticket...)
	dst = append(dst, f.Secret[:]...)
	return binary.LittleEndian.AppendUint32(dst, f.LifetimeMS)
}

// ParseTicket reads the body of a Ticket frame; the ticket aliases it.
func ParseTicket(body []byte) (Ticket, error) {
	r := reader{b: body}
	f := r.ticket()
	if err := r.err("ticket"); err != nil {
		return Ticket{}, err
	}
	if len(f.Ticket) > MaxTicket {
		return Ticket{}, malformed("ticket", "too long")
	}
	return f, nil
}

func (r *reader) ticket() (f Ticket) {
	f.Ticket = r.take(int(r.u16()))
	r.bytes(f.Secret[:])
	f.LifetimeMS = r.u32()
	return f
}

// LeaveReason says why a target ends a session.
type LeaveReason uint8

// The reasons.
const (
	LeaveDetached LeaveReason = 1 // the vDisk is not needed any more
	LeaveMoved    LeaveReason = 2 // another server serves the target now
	LeaveRenewed  LeaveReason = 3 // a newer session with this server took its place
	LeaveShutdown LeaveReason = 4 // the target shuts down or restarts
)

// String is the reason in words.
func (l LeaveReason) String() string {
	switch l {
	case LeaveDetached:
		return "detached"
	case LeaveMoved:
		return "moved to another server"
	case LeaveRenewed:
		return "session renewed"
	case LeaveShutdown:
		return "target shuts down"
	}
	return "reason " + strconv.Itoa(int(l))
}

// Leave ends a session.
type Leave struct {
	Reason  LeaveReason
	PauseUS uint32 // microseconds for which reads stood still because of the move, 0 when none did
}

// Type is FrameLeave.
func (Leave) Type() FrameType { return FrameLeave }

// Append appends the frame to dst.
func (f Leave) Append(dst []byte) []byte {
	dst = append(dst, byte(FrameLeave), 5, 0, byte(f.Reason))
	return binary.LittleEndian.AppendUint32(dst, f.PauseUS)
}

// ParseLeave reads the body of a Leave frame.
func ParseLeave(body []byte) (Leave, error) {
	if len(body) < 5 {
		return Leave{}, truncated("leave")
	}
	return Leave{LeaveReason(body[0]), binary.LittleEndian.Uint32(body[1:])}, nil
}

// Closed tells the target that the server has ended the session, and why.
type Closed struct {
	Code     Code
	Sentence string // for people
}

// Type is FrameClosed.
func (Closed) Type() FrameType { return FrameClosed }

// Append appends the frame to dst.
func (f Closed) Append(dst []byte) []byte {
	dst, at := begin(dst, FrameClosed)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(f.Code))
	return end(appendText(dst, f.Sentence, MaxSentence), at)
}

// ParseClosed reads the body of a Closed frame.
func ParseClosed(body []byte) (Closed, error) {
	r := reader{b: body}
	f := Closed{Code: Code(r.u16()), Sentence: r.text(MaxSentence)}
	if err := r.err("closed"); err != nil {
		return Closed{}, err
	}
	return f, nil
}
