package farm

import (
	"slices"
	"testing"
	"time"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/wire"
)

// How long the firmware of a machine took is known to the server that gave it its script, and whichever server is asked tells
// it, also of a target that another server serves to which it was referred, and beside a server that answers nothing.
func TestAnyServerTellsHowLongFirmwareTook(t *testing.T) {
	store := t.TempDir()
	a, serving := startFarm(t, "lab-a", store)
	b, _ := startFarm(t, "lab-b", store, a.PeerAddr())
	_, mute := startFarm(t, "lab-c", t.TempDir(), a.PeerAddr())
	mac := bootsvc.MAC{2, 0, 0, 0, 0, 7}
	on := time.Now()
	b.machines.note(on.Add(-10*time.Second), bootsvc.Event{MAC: mac, Text: "discover", Firmware: true})
	b.machines.note(on.Add(-7*time.Second), bootsvc.Event{MAC: mac, Text: "script", Script: true})
	serving.serves(stream.SessionView{
		MAC: mac, Confirmed: true, Resumed: true, Since: 2 * time.Second, Uptime: 6 * time.Second,
		Status: wire.Status{Boot: wire.BootTimes{LogInMS: 1000, InitMS: 3000, UptimeMS: 6000}},
	})
	until(t, "they know one another", func() bool {
		there := func(f *Farm) int {
			return len(slices.DeleteFunc(f.peers.peers(), func(p peer) bool { return !p.alive }))
		}
		return there(a) == 3 && there(b) == 3
	})
	for f, silent := range map[*Farm][]string{a: {"lab-c"}, b: nil} {
		if silent != nil {
			mute.mu.Lock()
		}
		list, err := f.Targets(t.Context())
		if silent != nil {
			mute.mu.Unlock()
		}
		if err != nil || len(list.Targets) != 1 || list.Targets[0].Boot == nil || !slices.Equal(list.Missing, silent) {
			t.Fatalf("%s: %+v, %v", f.o.Name, list, err)
		}
		got, most := list.Targets[0].Boot, 4*time.Second+time.Since(on) // the uptime above stands still
		if took := time.Duration(got.Firmware) * time.Millisecond; took < 4*time.Second || took > most || got.Total != got.Firmware+3000 {
			t.Errorf("%s: %+v, want 4 s to %v of firmware", f.o.Name, got, most)
		}
	}
}
