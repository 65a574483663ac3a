package agent

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

// exampleStatus is the status that the manual shows.
func exampleStatus() Status {
	at := time.Date(2026, 11, 21, 14, 2, 11, 0, time.UTC)
	return Status{
		PID: 4711, Attached: "/run/spate/debian12.nbd", Serving: true, Server: "lab-b", Addr: netip.MustParseAddrPort("192.0.2.12:6910"), Since: at,
		VDisk: "debian12", Version: 3, Mode: "standard", Size: 8 << 30, Root: "3f2a0000000000000000000000000000000000000000000000000000000000c1",
		Rate: 41.2e6, Bytes: 1.9e9, DiskBytes: 4.56e9, Packet: 1472, Offloads: "GSO+GRO", Cipher: "AES-256-GCM", NetworkLost: 9, NetworkLate: 3,
		RoundTrip: 210 * time.Microsecond, Pause: 3 * time.Millisecond, PauseAt: at, CacheUsed: 112 << 20, CacheMax: 2048 << 20, ReadHits: 0.87,
		Alternates: []Alternate{
			{Name: "lab-c", State: "serving", Load: 0.2, SameZone: true},
			{Name: "lab-a", State: "stream service stopped"},
		},
		Moves:     []Move{{At: at, From: "lab-a", To: "lab-b", Reason: "going away", Pause: 2 * time.Millisecond}},
		Failovers: 1,
	}
}

// What status prints is what the manual shows, line by line, also when no server serves or has ever served, nothing was moved,
// or the cache is full and reads have failed.
func TestStatusTextIsGolden(t *testing.T) {
	waiting := exampleStatus()
	waiting.Serving, waiting.Waiting = false, "asked lab-a (192.0.2.11:6910): no answer"
	fresh := exampleStatus()
	fresh.Moves, fresh.Failovers, fresh.Alternates, fresh.CacheMax, fresh.PauseAt, fresh.Pause = nil, 0, nil, 0, time.Time{}, 0
	full := exampleStatus()
	full.CacheUsed, full.CacheWaits = full.CacheMax, 4
	full.Moves[0].Pause = 300 * time.Microsecond
	full.Errors = 2
	lost := exampleStatus()
	lost.Serving = false
	first := Status{PID: 4711, Attached: "/run/spate/debian12.nbd", Asked: "debian12"}
	first.Waiting = waitingText("no server serves this target since 3s; asked 192.0.2.11:6910: no answer; the servers may be down")
	for name, s := range map[string]Status{
		"moved": exampleStatus(), "waiting": waiting, "fresh": fresh, "full": full, "lost": lost, "first": first,
		"start": {Attached: "read"},
	} {
		path := filepath.Join("..", "..", "..", "testdata", "cli", "status-"+name+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(s.Text()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if s.Text() != string(want) {
			t.Errorf("%s:\n%swant\n%s", name, s.Text(), want)
		}
	}
}
