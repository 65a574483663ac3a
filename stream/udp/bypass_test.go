package udp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"
)

// What a watch must decide, as a script: one line a moment.
func TestTheWayAroundIsTriedWhenNothingComesThrough(t *testing.T) {
	const ms = time.Millisecond
	start := time.Now()
	for _, c := range []struct {
		name string
		play func(w *watch) time.Duration // returns when the change is due, after the last send
		want time.Duration
	}{
		{"refused by the system", func(w *watch) time.Duration {
			for range fewestSends {
				w.sent(start, serving, true)
			}
			return 0
		}, deniedPatience},
		{"silence", func(w *watch) time.Duration {
			for range fewestSends {
				w.sent(start, serving, false)
			}
			return 0
		}, silentPatience},
		{"silence after datagrams came", func(w *watch) time.Duration {
			w.sent(start.Add(-time.Hour), serving, false)
			w.received(start.Add(-time.Minute), serving)
			for range fewestSends {
				w.sent(start.Add(10*ms), serving, false)
			}
			return 10 * ms
		}, silentPatience},
		{"silence on the way around", func(w *watch) time.Duration {
			w.turn(start)
			for range fewestSends {
				w.sent(start, serving, true)
			}
			return 0
		}, trialPeriod},
	} {
		w := newWatch(start)
		from := c.play(&w)
		if due := start.Add(from + c.want); w.change(due.Add(-1)) || !w.change(due) {
			t.Errorf("%s: not due %v after the first datagram without an answer", c.name, c.want)
		}
		w.received(start.Add(c.want), serving)
		if w.change(start.Add(time.Hour)) {
			t.Errorf("%s: an answer came, and the way is changed all the same", c.name)
		}
	}
	if w := newWatch(start); w.change(start.Add(time.Hour)) {
		t.Error("nothing was sent, and its answer is missed")
	}
}

func TestTheOrdinaryWayIsLookedAtAgain(t *testing.T) {
	start := time.Now()
	w := newWatch(start)
	if begin, end := w.look(start.Add(time.Hour)); begin || end {
		t.Error("the ordinary way is in use and looked at")
	}
	w.turn(start)
	for range 3 {
		if begin, end := w.look(start.Add(returnEvery - 1)); begin || end {
			t.Error("too early")
		}
		if begin, _ := w.look(start.Add(returnEvery)); !begin {
			t.Error("not begun")
		}
		start = start.Add(returnEvery + returnWindow)
		if _, end := w.look(start); !end {
			t.Error("not ended")
		}
	}
	// Who receives now and then only has a look all the same.
	start = start.Add(10 * returnEvery)
	if begin, end := w.look(start); !begin || end {
		t.Errorf("late, begun is %v and ended %v", begin, end)
	}
	if _, end := w.look(start.Add(10 * returnEvery)); !end {
		t.Error("late, and not ended")
	}
}

// A dead server that is asked now and then is no sign of a firewall, as long as the one that serves answers.
func TestTheSilenceOfADeadServerIsNoneOfTheNetwork(t *testing.T) {
	start, dead := time.Now(), netip.MustParseAddrPort("192.0.2.9:6910")
	w := newWatch(start)
	w.received(start, dead)
	for range fewestSends {
		w.sent(start, dead, false)
	}
	w.received(start, serving)
	for i := range 20 {
		w.sent(start.Add(time.Duration(i)*time.Second), dead, false)
	}
	if w.change(start.Add(time.Minute)) {
		t.Error("the way is changed")
	}
	for range fewestSends {
		w.sent(start, serving, false)
	}
	if !w.change(start.Add(silentPatience)) {
		t.Error("the silence of the server that was heard last is not noticed")
	}
}

var serving = netip.MustParseAddrPort("192.0.2.1:6910")

// A datagram as tcpdump shows one: 192.0.2.1:4660 to 198.51.100.2:22136, "spate".
const knownFrame = "450000210000400040114e95" + "c0000201" + "c6336402" + "12345678000d710b" + "7370617465"

func TestAFrameIsReadAsItWasWritten(t *testing.T) {
	from, to := netip.MustParseAddrPort("192.0.2.1:4660"), netip.MustParseAddrPort("198.51.100.2:22136")
	frame := append(make([]byte, frameHeader), "spate"...)
	putFrame(frame, from, to)
	want, err := hex.DecodeString(knownFrame)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(frame, want) {
		t.Errorf("%x, want %x", frame, want)
	}
	f, g, payload, ok := parseFrame(frame)
	if !ok || f != from || g != to || string(payload) != "spate" {
		t.Errorf("%v to %v: %q, %v", f, g, payload, ok)
	}
	for n := range frame {
		if _, _, _, ok := parseFrame(frame[:n]); ok {
			t.Errorf("%d of %d bytes are taken for a datagram", n, len(frame))
		}
	}
	if _, _, payload, ok := parseFrame(append(frame, 0, 0, 0)); !ok || string(payload) != "spate" {
		t.Errorf("the padding of a short frame is taken for payload: %q", payload)
	}
	for _, fragment := range []byte{0x20, 0x01} {
		cut := bytes.Clone(frame)
		cut[6] = fragment
		if _, _, _, ok := parseFrame(cut); ok {
			t.Error("a fragment is taken for a datagram")
		}
	}
}

func TestARequestForAHardwareAddressNamesWhoAsksAndWhoIsMeant(t *testing.T) {
	var b [arpSize]byte
	us, them := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	putARP(b[:], [6]byte{2, 0, 0, 0, 0, 1}, us, them)
	if got, want := hex.EncodeToString(b[:]), "0001080006040001"+"020000000001"+"c0000201"+"000000000000"+"c0000209"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, _, ok := parseARP(b[:]); ok {
		t.Error("a request is taken for a reply")
	}
	b[7] = arpReply
	if addr, mac, ok := parseARP(b[:]); !ok || addr != us || mac != [6]byte{2, 0, 0, 0, 0, 1} {
		t.Errorf("%v is at %x, %v", addr, mac, ok)
	}
}

func TestAHardwareAddressIsAskedForNowAndThen(t *testing.T) {
	var n neighbours
	now, remote, router := time.Now(), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		after time.Duration
		ask   bool
	}{{0, true}, {askAgain - 1, false}, {askAgain, true}} {
		if _, ok, ask := n.find(now.Add(c.after), remote, router); ok || ask != c.ask {
			t.Errorf("after %v: found %v, asks %v", c.after, ok, ask)
		}
	}
	n.learn(router, [6]byte{1})
	n.learn(remote, [6]byte{2})
	if mac, ok, _ := n.find(now, remote, router); !ok || mac != [6]byte{2} {
		t.Errorf("%x, %v: the sender of the remote's frames is the way to it", mac, ok)
	}
	for i := range 3 * maxNeighbours {
		n.learn(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), [6]byte{3})
	}
	if len(n.known) > maxNeighbours {
		t.Errorf("%d neighbours are kept", len(n.known))
	}
}

func FuzzParseFrame(f *testing.F) {
	known, err := hex.DecodeString(knownFrame)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(known)
	var arp [arpSize]byte
	putARP(arp[:], [6]byte{2}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"))
	f.Add(arp[:])
	f.Fuzz(func(t *testing.T, frame []byte) {
		parseARP(frame)
		from, to, payload, ok := parseFrame(frame)
		if !ok {
			return
		}
		again := append(make([]byte, frameHeader), payload...)
		putFrame(again, from, to)
		if f, g, p, ok := parseFrame(again); !ok || f != from || g != to || !bytes.Equal(p, payload) {
			t.Errorf("%v to %v: %x, %v", f, g, p, ok)
		}
	})
}
