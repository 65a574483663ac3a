package udp

import (
	"errors"
	"net/netip"
	"time"
)

// Bounds of one call, in bytes and datagrams.
const (
	// MaxReceive is the most that one Receive brings: the payload of the largest UDP datagram over IPv4. A buffer for
	// Batch.Buf has at least this length.
	MaxReceive = 65507
	// MaxTrain is the most bytes that travel in one system call on the way out.
	MaxTrain = 65507
	// MaxSegments is the most datagrams that travel in one system call on the way out; older kernels refuse more.
	MaxSegments = 64
)

// Default socket buffers in bytes, before the kernel's own doubling. The receive buffer holds what arrives while the
// loop is not scheduled; the send buffer is short on purpose, because what waits there can no longer be reordered.
const (
	DefaultReceiveBuffer = 8 << 20
	DefaultSendBuffer    = 2 << 20
)

// MaxLoops bounds Options.Loops.
const MaxLoops = 256

// Errors of Send. Both are worth no more than a counter to the caller: the datagrams are lost, and asking again is the
// protocol's business.
var (
	// ErrDropped says that the local network stack did not take the datagrams: its buffer is full, or one of the
	// reasons of ErrUnreachable, which is an ErrDropped too.
	ErrDropped = errors.New("the local network stack dropped the datagrams")
	// ErrUnreachable says that there is no way to the remote address now (no route, link down, packet filter, or the
	// local address is gone). errors.Is(ErrUnreachable, ErrDropped) holds.
	ErrUnreachable error = unreachable{}
	// ErrTooBig says that a datagram is larger than the MTU of the device it would leave by.
	ErrTooBig = errors.New("the datagram is larger than the device's MTU")
)

type unreachable struct{}

func (unreachable) Error() string { return "the remote address cannot be reached from here now" }
func (unreachable) Unwrap() error { return ErrDropped }

// Refused is an ICMP error that came back for a datagram to Remote: nobody listens on that port, or some router or host
// says that there is no way. It is a hint; it can be forged.
type Refused struct {
	Remote netip.AddrPort // whom the datagram was for; IPv4 unmapped
	Err    error          // the errno, for instance ECONNREFUSED
}

func (r *Refused) Error() string { return r.Remote.String() + ": " + r.Err.Error() }

// Unwrap gives the errno.
func (r *Refused) Unwrap() error { return r.Err }

// Batch is what one Receive brings: datagrams of Segment bytes each (the last may be shorter), all from one address.
type Batch struct {
	Data    []byte         // aliases Buf
	Segment int            // bytes; len(Data) for a single datagram
	From    netip.AddrPort // IPv4 unmapped
	To      netip.Addr     // the local address it came to, IPv4 unmapped; the zero Addr when unknown
	Buf     []byte         // the caller's, at least MaxReceive bytes; its content is overwritten
}

// Path says where a train goes and which of our addresses it comes from.
type Path struct {
	Remote netip.AddrPort
	Local  netip.Addr // the zero Addr lets the kernel choose
}

// Conn is one UDP socket, or one end of an in-memory network that behaves like it.
type Conn interface {
	// Receive blocks until datagrams arrive and describes them in b. One goroutine at a time may receive. It returns
	// net.ErrClosed after Close and os.ErrDeadlineExceeded past the read deadline, and *Refused if that was asked for;
	// after *Refused and after a deadline the Conn is as good as before.
	Receive(b *Batch) error
	// ReceiveSpin is Receive that first looks for datagrams again and again for at most spin before it gives up its
	// thread. While an answer is due within microseconds this saves two context switches; it burns a core meanwhile.
	ReceiveSpin(b *Batch, spin time.Duration) error
	// TryReceive is Receive that never blocks; false when nothing is there.
	TryReceive(b *Batch) (bool, error)
	// Send sends the datagrams of train, segment bytes each, the last may be shorter; it neither keeps train nor
	// blocks. Any number of goroutines may send. Errors are ErrDropped, ErrUnreachable, ErrTooBig, net.ErrClosed, or
	// something that is wrong with the arguments or the socket for good.
	Send(train []byte, segment int, p Path) error
	// SetReadDeadline bounds the current and later calls of Receive and ReceiveSpin; the zero time means no bound.
	SetReadDeadline(t time.Time) error
	// LocalAddr is the address the socket is bound to.
	LocalAddr() netip.AddrPort
	// Offloads tells what works on this socket now.
	Offloads() Offloads
	// Counters tells what went wrong so far.
	Counters() Counters
	// Close ends the Conn and a Receive that is blocked in it. A second Close returns net.ErrClosed.
	Close() error
}

// Options of Listen. The zero value is right for a target.
type Options struct {
	// Loops is how many sockets share the port; 0 means 1.
	Loops int
	// ReceiveBuffer and SendBuffer are socket buffers in bytes, 0 means the defaults above. More than the system's
	// limit is granted to a privileged process only; Offloads tells what was granted.
	ReceiveBuffer, SendBuffer int
	// Refusals asks for ICMP errors as *Refused.
	Refusals bool
	// NoGSO and NoGRO leave out an offload, for measurements and for drivers that lie.
	NoGSO, NoGRO bool
}

// Offloads tells which of the kernel's offloads a Conn uses, and why not.
type Offloads struct {
	GSO, GRO bool
	// GSOReason and GROReason say in words why an offload is off; GSOReason is also set, with GSO true, when some
	// paths had to do without it.
	GSOReason, GROReason string
	// PlainPaths is the number of remote addresses to which GSO failed and datagrams now go one by one.
	PlainPaths int
	// ReceiveBuffer and SendBuffer are what the kernel granted, in bytes of its own accounting (it counts its
	// overhead too, and doubles what is asked for).
	ReceiveBuffer, SendBuffer int
}

// Counters counts what a Conn did not deliver, since it was opened.
type Counters struct {
	Dropped     uint64 // Send returned ErrDropped, without those of Unreachable
	Unreachable uint64 // Send returned ErrUnreachable
	TooBig      uint64 // Send returned ErrTooBig
	Truncated   uint64 // received, longer than MaxReceive or with its length lost, and thrown away
	Refused     uint64 // ICMP errors, whether reported or not
}
