package nic

import (
	"net/netip"
	"testing"

	"github.com/spate-project/spate/stream/udp"
)

func TestDatagramsLeaveByTheRouteOfTheLease(t *testing.T) {
	addr := netip.MustParseAddr
	lease := Lease{
		Index: 3, Address: netip.MustParsePrefix("192.0.2.50/24"), Router: addr("192.0.2.1"),
		Routes: []Route{
			{To: netip.MustParsePrefix("198.51.100.0/24"), Via: addr("192.0.2.2")},
			{To: netip.MustParsePrefix("198.51.100.128/25"), Via: addr("192.0.2.3")},
			{To: netip.MustParsePrefix("203.0.113.7/32")},
		},
	}
	ours := ifAddr{index: 3, prefix: lease.Address}
	theirs := ifAddr{index: 3, prefix: netip.MustParsePrefix("10.0.0.9/8")}
	for _, c := range []struct {
		name    string
		addrs   []ifAddr
		remote  string
		from    string
		through string
	}{
		{"same network", []ifAddr{ours}, "192.0.2.9", "192.0.2.50", "192.0.2.9"},
		{"a route", []ifAddr{ours}, "198.51.100.1", "192.0.2.50", "192.0.2.2"},
		{"the longer route", []ifAddr{ours}, "198.51.100.200", "192.0.2.50", "192.0.2.3"},
		{"a route without a router", []ifAddr{ours}, "203.0.113.7", "192.0.2.50", "203.0.113.7"},
		{"the router", []ifAddr{ours, theirs}, "203.0.113.8", "192.0.2.50", "192.0.2.1"},
		{"the address was flushed", nil, "192.0.2.9", "192.0.2.50", "192.0.2.9"},
		{"the system has set another", []ifAddr{theirs}, "10.1.2.3", "10.0.0.9", "10.1.2.3"},
		{"another card has another", []ifAddr{{index: 4, prefix: theirs.prefix}}, "192.0.2.9", "192.0.2.50", "192.0.2.9"},
	} {
		got, ok := wayOf(lease, state{addrs: c.addrs}).hop(addr(c.remote))
		if want := (udp.Hop{Index: 3, Source: addr(c.from), Next: addr(c.through)}); !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, ok, want)
		}
	}
	for name, w := range map[string]way{
		"no router": wayOf(Lease{Index: 3, Address: lease.Address}, state{}), "no lease": {},
	} {
		if h, ok := w.hop(addr("203.0.113.8")); ok {
			t.Errorf("%s: %+v", name, h)
		}
	}
}
