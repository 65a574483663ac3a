package udp

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func room() []byte { return make([]byte, 0, controlSize) }

// What we write as control messages is what we read.
func TestControlMessagesAreReadAsWritten(t *testing.T) {
	for _, c := range []struct {
		local netip.Addr
		v6    bool
	}{
		{netip.MustParseAddr("192.0.2.7"), false}, {netip.MustParseAddr("192.0.2.7"), true}, {netip.MustParseAddr("2001:db8::7"), true},
	} {
		b := appendSource(appendSegment(room(), 1472), c.local, c.v6)
		if got := parseControl(b); got.to != c.local {
			t.Errorf("%v (socket of IPv6: %v) came back as %v", c.local, c.v6, got.to)
		}
	}
	b, data := appendControl(room(), unix.IPPROTO_UDP, unix.UDP_GRO, 4)
	binary.NativeEndian.PutUint32(data, 1472)
	if got := parseControl(b); got.segment != 1472 {
		t.Errorf("segment %d", got.segment)
	}
}

// Control messages come from the kernel, but about packets of strangers: nothing in them may make us read outside.
func FuzzControl(f *testing.F) {
	f.Add(appendSource(appendSegment(room(), 1472), netip.MustParseAddr("192.0.2.7"), false))
	f.Add(appendSource(room(), netip.MustParseAddr("2001:db8::7"), true))
	b, _ := appendControl(room(), unix.IPPROTO_IP, unix.IP_RECVERR, extendedErrorSize+unix.SizeofSockaddrInet4)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		// A copy of the exact length, so that a read past the end is seen.
		r := parseControl(append(make([]byte, 0, len(b)), b...))
		if r.segment < 0 {
			t.Errorf("a segment of %d bytes", r.segment)
		}
	})
}
