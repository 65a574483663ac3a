package simtest

import (
	"context"
	"testing"
	"time"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/stream/wire"
)

// How long the firmware of a machine took is known after each start, also when the machine was sent to another server in the
// second after its log-in.
func TestFirmwareTimeIsKnownOfATargetThatMovesInItsBoot(t *testing.T) {
	inBubble(t, 1, two, func(w *world) {
		b := w.servers[1]
		mac := bootsvc.MAC{2, 0, 0, 0, 0, 0} // of the first target
		for range 2 {
			b.farm.Directory().Note(bootsvc.Event{MAC: mac, Service: "dhcp", Text: "offered"})
			time.Sleep(2 * time.Second)
		}
		b.farm.Directory().Note(bootsvc.Event{MAC: mac, Service: "script", Text: "sent", Script: true})
		time.Sleep(time.Second) // and the kernel starts
		kernel := time.Now()
		time.Sleep(2 * time.Second)
		g := w.attach()
		g.client.SetBoot(wire.BootTimes{NetworkMS: 1500, LogInMS: 2000, UptimeMS: uint32(time.Since(kernel).Milliseconds())})
		time.Sleep(time.Second)
		gather(w, b)
		time.Sleep(15 * time.Second) // until it has told its status there
		list, err := b.farm.Targets(context.Background())
		ok(t, err)
		if len(list.Targets) != 1 {
			t.Fatalf("%+v", list)
		}
		x := list.Targets[0]
		if !x.Resumed || x.Server != b.name {
			t.Fatalf("it was to move to %s in its boot: %+v", b.name, x)
		}
		if got := x.Boot; got == nil || got.Firmware < 4900 || got.Firmware > 5100 || got.LogIn != 2000 {
			t.Errorf("%+v, want about 5 s of firmware", got)
		}
	})
}
