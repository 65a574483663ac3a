package engine

import (
	"net/netip"
	"testing"
	"time"
)

// probed steps a session's probing over a path that lets datagrams of at most most bytes through, for ten seconds, and
// gives the size in use and how many probes were sent.
func probed(addr string, most int) (packet, probes int) {
	s := &Session{addr: netip.MustParseAddrPort(addr), proven: true}
	s.restartProbing(0)
	for at := Instant(0); at < Instant(10*time.Second); at = at.Add(time.Millisecond) {
		s.tickProbe(at)
		if s.probeSize == 0 {
			continue
		}
		probes++
		if s.probeSize <= most {
			s.sized(at, s.probeSize)
		}
		s.probeSize = 0
	}
	return s.packet, probes
}

// The largest size that a path takes is found with few probes: on loopback with the first one, and also where loopback
// is not what it usually is.
func TestProbingFindsTheLargestDatagramOfThePath(t *testing.T) {
	for _, c := range []struct {
		addr         string
		most         int
		want, probes int
	}{
		{"192.0.2.1:1", 1300, 1200, probeTries},
		{"192.0.2.1:1", 1472, 1472, 1 + probeTries},
		{"192.0.2.1:1", 65000, 8972, 3},
		{"[2001:db8::1]:1", 1452, 1452, 1 + probeTries},
		{"127.0.0.1:1", 65000, 65000, 1},
		{"[::1]:1", 65000, 65000, 1},
		{"127.0.0.1:1", 8972, 8972, probeTries + 3},
		{"127.0.0.1:1", 1472, 1472, probeTries + 1 + probeTries},
		{"127.0.0.1:1", 1200, 1200, 2 * probeTries},
	} {
		if packet, probes := probed(c.addr, c.most); packet != c.want || probes != c.probes {
			t.Errorf("%s, at most %d bytes: %d in use after %d probes, want %d after %d", c.addr, c.most, packet, probes, c.want, c.probes)
		}
	}
}
