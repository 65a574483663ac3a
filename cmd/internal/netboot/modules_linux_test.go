package netboot

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// A machine whose card is there after the buses of cards has loaded their drivers, all of them, and no others; a later look, or a card
// that has not come, loads the rest. What was looked at before is not loaded again.
func TestDriversAreLoadedUntilTheCardIsThereAndTheOthersLater(t *testing.T) {
	list, err := modules.Parse(strings.NewReader("kernel 6.1\nmodule nic /nic.ko\nmodule rng /rng.ko\nmodule keys /keys.ko\n" +
		"alias pci:v1* nic\nalias virtio:d4* rng\nalias acpi:KBD* keys\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		card   string
		enough bool
		want   string
	}{
		{"52:54:00:00:00:01", true, "nic rng"}, {"52:54:00:00:00:02", false, "keys nic rng"}, {"", false, "keys nic rng"},
	} {
		sys := t.TempDir()
		for name, content := range map[string]string{
			"bus/acpi/devices/k/modalias": "acpi:KBD0:\n", "bus/pci/devices/n/modalias": "pci:v1d1\n", "bus/virtio/devices/r/modalias": "virtio:d4v1\n",
			"bus/pci/devices/mute/class": "0x01", "class/net/lo/address": "00:00:00:00:00:00\n", "class/net/eth0/address": "52:54:00:00:00:01\n",
		} {
			name = filepath.Join(sys, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		tried := 0 // modules without a file
		l := &loader{list: list, buses: newIndex(list.Aliases), sys: sys, line: func(string) { tried++ }, done: map[string]bool{}, seen: map[string]bool{}}
		mac, _ := net.ParseMAC(c.card) // of none: nil
		if got := l.hasCard(mac); got != c.enough {
			t.Errorf("card %q is there: %t", c.card, got)
		}
		l.devices(mac)
		if got := strings.Join(slices.Sorted(maps.Keys(l.done)), " "); got != c.want {
			t.Errorf("card %q: %s were loaded, want %s", c.card, got, c.want)
		}
		l.devices(nil)
		if got := slices.Sorted(maps.Keys(l.done)); len(got) != 3 || tried != 3 {
			t.Errorf("card %q: %s after a second look, %d modules were tried", c.card, got, tried)
		}
	}
}
