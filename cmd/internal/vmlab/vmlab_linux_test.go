package vmlab

import (
	"net/netip"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/bootline"
	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/system/lab"
)

// A network that loses more or less than it should, in either direction, has tested something else; so has one that nearly
// nothing crossed.
func TestALossThatIsNotTheOneThatWasAskedForIsAnError(t *testing.T) {
	for _, c := range []struct {
		name     string
		percent  float64
		to, from Lost
		good     bool
	}{
		{"as asked for", 2, Lost{20_000, 400}, Lost{10_000, 200}, true},
		{"at the lower bound", 2, Lost{20_000, 280}, Lost{10_000, 140}, true},
		{"at the upper bound", 2, Lost{20_000, 520}, Lost{10_000, 260}, true},
		{"too little", 2, Lost{20_000, 270}, Lost{10_000, 200}, false},
		{"too much", 2, Lost{20_000, 400}, Lost{10_000, 270}, false},
		{"none", 10, Lost{20_000, 0}, Lost{10_000, 0}, false},
		{"few packets one way, which nobody judges", 2, Lost{20_000, 400}, Lost{1000, 3}, true},
		{"few packets both ways", 2, Lost{2000, 40}, Lost{1000, 20}, false},
		{"nothing", 2, Lost{}, Lost{}, false},
	} {
		if said, err := judge(c.percent, c.to, c.from); (err == nil) != c.good {
			t.Errorf("%s: %v; %s", c.name, err, said)
		}
	}
}

// The farm file of the lab is one that spated takes, and says what the options say.
func TestTheFarmFileSaysWhatWasAskedFor(t *testing.T) {
	server := &Server{Name: "server-a", Link: &lab.Link{Addr: netip.MustParseAddr("10.177.0.2")}, store: "/store"}
	f := &Farm{dir: "/lab", Servers: []*Server{server}, FarmOptions: FarmOptions{
		DHCP: farm.DHCPServer, SecureBoot: true, CommandLine: "quiet spate.test=agent", WriteCache: "ram:256M", Root: "overlay", Shell: true,
		Devices: []string{"{name: pc-1, mac: '" + MAC(1) + "', collection: all, menu: {default: debian, timeout: 5s, local_disk: on}}"},
	}}
	c, err := farm.ParseConfig("farm.yaml", []byte(f.text()))
	if err != nil {
		t.Fatalf("%v\n%s", err, f.text())
	}
	if b := c.Collections[0].Booting; b.CommandLine != f.CommandLine || b.CacheBytes != 256<<20 || b.Root != bootline.RootOverlay || !b.Shell {
		t.Errorf("all machines: %+v", b)
	}
	if c.Boot.DHCP != farm.DHCPServer || c.Boot.SecureBoot != farm.On {
		t.Errorf("boot services: %+v", c.Boot)
	}
	d := c.Devices[0]
	if m := d.Boot.Menu; d.MAC.String() != MAC(1) || m == nil || m.Timeout != 5*time.Second || !m.LocalDisk || m.Default.Name != VDisk {
		t.Errorf("the device: %+v", d)
	}
}
