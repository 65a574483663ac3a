package main

import (
	"net/netip"
	"strings"
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

// A folder that is served where other machines can read it is warned of in one line; one on loopback is not.
func TestWhoCanReadIsSaidInOneLine(t *testing.T) {
	for a, want := range map[string]string{
		"127.0.0.1:6910": "", "127.0.0.9:6910": "", "[::1]:6910": "",
		"192.0.2.11:6910":    "warning: every machine that reaches 192.0.2.11:6910 and knows the farm key can read these vDisks\n",
		"[2001:db8::1]:6910": "warning: every machine that reaches [2001:db8::1]:6910 and knows the farm key can read these vDisks\n",
		"0.0.0.0:6910":       "warning: every machine that reaches " + reachable(netip.MustParseAddrPort("0.0.0.0:6910")).String() + " and knows the farm key can read these vDisks\n",
	} {
		var out strings.Builder
		if warnOfReaders(&out, netip.MustParseAddrPort(a)); out.String() != want {
			t.Errorf("%s: %q", a, out.String())
		}
	}
}
