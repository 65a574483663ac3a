package main

import (
	"net/netip"
	"testing"
)

// An address of this machine is told as it is; one that stands for all of them is told as one that others can use.
func TestReachableIsAnAddressThatOthersCanUse(t *testing.T) {
	for _, a := range []string{"192.0.2.11:6910", "127.0.0.1:7000", "[2001:db8::1]:6910"} {
		if got := reachable(netip.MustParseAddrPort(a)); got.String() != a {
			t.Errorf("%s became %s", a, got)
		}
	}
	for _, a := range []string{"0.0.0.0:6910", "[::]:6910"} {
		got := reachable(netip.MustParseAddrPort(a))
		if !got.IsValid() || got.Addr().IsUnspecified() || got.Port() != 6910 {
			t.Errorf("%s became %s", a, got)
		}
		if a[0] == '0' && !got.Addr().Is4() {
			t.Errorf("%s became %s, which is not served", a, got)
		}
	}
}
