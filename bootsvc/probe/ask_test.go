package probe

import (
	"net/netip"
	"testing"
)

// A server that pings before each offer has not answered all when the time is over, and is no server that answers BIOS alone.
func TestAServerThatHasAnsweredSomeKindsIsWaitedFor(t *testing.T) {
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	a := asking{o: Options{Kinds: []Kind{BIOS, UEFI}}}
	for _, c := range []struct {
		answer Offer
		want   bool
	}{
		{Offer{Kind: BIOS, Server: one}, true},
		{Offer{Kind: UEFI, Server: one}, false},
		{Offer{Kind: UEFI, Server: other}, true},
		{Offer{Kind: UEFI, Server: other, Boot: true}, true}, // from port 4011
		{Offer{Kind: BIOS, Server: other}, false},
	} {
		a.offers = append(a.offers, c.answer)
		if got := a.unanswered(); got != c.want {
			t.Errorf("after %+v: %t", c.answer, got)
		}
	}
	if (&asking{o: a.o}).unanswered() {
		t.Error("nobody is waited for longer")
	}
}
