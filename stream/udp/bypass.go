package udp

import (
	"net/netip"
	"time"
)

// Hop is how a remote address is reached from here.
type Hop struct {
	// Index is the interface's.
	Index int
	// Source is our address there, Next the remote itself or the router toward it. Both are IPv4.
	Source, Next netip.Addr
}

// BypassOptions say how a Conn goes past the machine's own packet filter.
type BypassOptions struct {
	// Hop tells how a remote address is reached; false when it is not known now. It is called while datagrams wait.
	Hop func(remote netip.Addr) (Hop, bool)
	// Note is told, in one sentence, when answers come by another way than before; nil for nobody. It must not wait.
	Note func(string)
}

// When the way is changed. A packet filter is one of several reasons for silence, and trying costs little.
const (
	// deniedPatience is the silence after which the other way is tried when the system refused to send.
	deniedPatience = 100 * time.Millisecond
	// silentPatience is the same when datagrams leave and nothing comes: a dead server must have been noticed and
	// another one asked in this time.
	silentPatience = time.Second
	// trialPeriod is how long each way is tried in turn while there is silence on both.
	trialPeriod = 2 * time.Second
	// returnEvery is how often a look is taken whether the ordinary way works again, and returnWindow how long it lasts.
	returnEvery  = 10 * time.Second
	returnWindow = 200 * time.Millisecond
	// fewestSends is how many datagrams must have been without an answer.
	fewestSends = 3
)

// watch decides when the ordinary way does not work. It is stepped: the time is an argument.
type watch struct {
	around  bool           // the way around the filter is in use
	since   time.Time      // when that began
	heard   time.Time      // the last datagram
	from    netip.AddrPort // whose it was; not valid when nothing has come by this way
	first   time.Time      // the first send since then, the zero time when there was none
	sends   int            // since heard or since, whichever is later
	denied  bool           // one of them was refused by the system
	looking time.Time      // when the last look at the ordinary way ended
	begun   time.Time      // when the present one began, the zero time when there is none
	every   time.Duration
}

func newWatch(now time.Time) watch {
	return watch{since: now, heard: now, looking: now, every: returnEvery}
}

// sent notes a datagram that was given to the system, and whether that refused it.
//
// Once somebody was heard, only what is sent to him counts: others may be dead, and are asked now and then all the same.
func (w *watch) sent(now time.Time, to netip.AddrPort, denied bool) {
	if w.from.IsValid() && to != w.from {
		return
	}
	if w.sends++; w.sends == 1 {
		w.first = now
	}
	w.denied = w.denied || denied
}

// received notes a datagram that came.
func (w *watch) received(now time.Time, from netip.AddrPort) {
	w.heard, w.from, w.sends, w.denied = now, from, 0, false
}

// change tells whether the other way is to be tried now.
func (w *watch) change(now time.Time) bool {
	if w.sends < fewestSends {
		return false
	}
	silence := now.Sub(w.first)
	switch {
	case w.around:
		return silence >= trialPeriod
	case w.denied:
		return silence >= deniedPatience
	default:
		return silence >= silentPatience
	}
}

// turn changes the way.
func (w *watch) turn(now time.Time) {
	*w = watch{around: !w.around, since: now, heard: now, looking: now, every: w.every}
}

// look tells whether a look at the ordinary way is due: it begins with throwing away what has come there, and what comes
// until its end counts, one window later or, when nobody asked then, as soon as somebody does.
func (w *watch) look(now time.Time) (begin, end bool) {
	if !w.around {
		return false, false
	}
	switch {
	case w.begun.IsZero() && now.Sub(w.looking) < w.every:
		return false, false
	case w.begun.IsZero():
		w.begun = now
		return true, false
	case now.Sub(w.begun) < returnWindow:
		return true, false
	}
	w.looking, w.begun = now, time.Time{}
	return false, true
}
