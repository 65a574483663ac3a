package engine

import (
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// Reason says why a session was opened or left.
type Reason uint8

// The reasons.
const (
	ReasonLogin     Reason = iota // the first one
	ReasonGoingAway               // the server asked its targets to log in elsewhere
	ReasonSilent                  // the server did not answer
	ReasonClosed                  // the server ended the session
	ReasonRestarted               // the server does not know the session any more, for no reason but a restart of its own
	ReasonRenewal                 // the keys have served their time
	ReasonRepair                  // the serving server has no good copy of some chunk
	ReasonRebalance               // the server named another one that has less to do
	ReasonStoreGone               // the server cannot read the store that it serves from
	ReasonExpired                 // the server heard nothing of this target for so long that it has forgotten the session
)

var reasonText = [...]string{"log-in", "going away", "silent", "session closed", "server restarted", "renewal", "repair", "rebalance", "store gone", "session expired"}

func (r Reason) String() string {
	if int(r) < len(reasonText) {
		return reasonText[r]
	}
	return "unknown"
}

// planned tells that the old server serves on until the new one does.
func (r Reason) planned() bool {
	return r == ReasonGoingAway || r == ReasonRenewal || r == ReasonRebalance || r == ReasonStoreGone
}

// EventKind tells events apart.
type EventKind uint8

// What a client tells its owner.
const (
	EventServing    EventKind = iota // logged in; Disk says what is served
	EventMoved                       // another server serves now
	EventWaiting                     // no server answers; Text says who was asked
	EventDenied                      // a server refused; Text is its sentence
	EventDamaged                     // a server's copy of object Level/Index is bad; with CodeStoreGone its whole store is gone
	EventNote                        // something a person may want to know
	EventNoGoodCopy                  // a read failed: the servers named in Text have no good copy of object Level/Index
)

// Event is something that happened to a client. From and To are server names.
type Event struct {
	Kind   EventKind
	At     Instant
	From   string
	To     string
	Addr   netip.AddrPort
	Reason Reason
	Pause  time.Duration // longest time for which reads stood still
	Code   wire.Code
	Text   string
	Level  uint8 // EventDamaged: the object
	Index  int64
	Disk   wire.Disk
}

// Datagram is one datagram to be sent.
type Datagram struct {
	To   netip.AddrPort
	Data []byte
}

// Output is what a step of a client asks for. Its owner keeps one and gives it
// to [Client.Take] again and again; the data in it is valid until then.
type Output struct {
	Sends  []Datagram
	Done   []*Fetch
	Events []Event
	arena  []byte
}

func (o *Output) reset() {
	o.Sends = o.Sends[:0]
	clear(o.Done)
	o.Done = o.Done[:0]
	clear(o.Events)
	o.Events = o.Events[:0]
	o.arena = o.arena[:0]
}

// Empty tells whether nothing is asked for.
func (o *Output) Empty() bool {
	return len(o.Sends) == 0 && len(o.Done) == 0 && len(o.Events) == 0
}

// room gives n bytes of buffer that stay where they are.
func (o *Output) room(n int) []byte {
	if cap(o.arena)-len(o.arena) < n {
		// The old array stays alive through the datagrams that lie in it.
		o.arena = make([]byte, 0, max(2*cap(o.arena), 8*requestDatagram, n))
	}
	at := len(o.arena)
	o.arena = o.arena[:at+n]
	return o.arena[at : at : at+n]
}

func (o *Output) send(to netip.AddrPort, data []byte) {
	o.Sends = append(o.Sends, Datagram{To: to, Data: data})
}
