package nic

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTheCardThatPXEUsedIsFound(t *testing.T) {
	a, b := "52:54:00:00:00:0a", "52:54:00:00:00:0b"
	all := []card{
		{index: 1, name: "lo", kind: "device"},
		{index: 9, name: "bond0", mac: a, kind: "bond", ethernet: true, carrier: true},
		{index: 8, name: "eth0.7", mac: a, kind: "vlan", ethernet: true, carrier: true},
		{index: 3, name: "eth1", mac: a, permanent: b, kind: "device", driver: "e1000e", ethernet: true, carrier: true}, // a port of bond0
		{index: 2, name: "eth0", mac: a, kind: "device", driver: "virtio_net", ethernet: true},
	}
	parse := func(s string) net.HardwareAddr { m, _ := net.ParseMAC(s); return m }
	for _, c := range []struct {
		want  Want
		names []string
		why   string
	}{
		{Want{Card: parse(a)}, []string{"eth0"}, ""},
		{Want{Card: parse(b)}, []string{"eth1"}, ""},
		{Want{}, []string{"eth1"}, ""},
		{Want{Card: parse(a), Static: Static{Device: "eth1"}}, []string{"eth1"}, ""},
		{Want{Card: parse("52:54:00:00:00:0c")}, nil, "no card with MAC address 52:54:00:00:00:0c (BOOTIF= on the kernel command line); there are: eth0 52:54:00:00:00:0a (driver virtio_net), eth1"},
		{Want{Static: Static{Device: "eth7"}}, nil, "no card is called eth7"},
	} {
		got, why := choose(all, c.want)
		var names []string
		for _, g := range got {
			names = append(names, g.name)
		}
		if !reflect.DeepEqual(names, c.names) || !strings.HasPrefix(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%+v: %v %q, want %v %q", c.want, names, why, c.names, c.why)
		}
	}
	if _, why := choose(all[:1], Want{Card: parse(a)}); !strings.Contains(why, "its driver may be missing in the boot image") {
		t.Error(why)
	}
	if _, why := choose(all[4:], Want{}); !strings.Contains(why, "is the cable plugged in? There are: eth0") {
		t.Error(why)
	}
}

func TestAnAddressOfTheCommandLineIsReadAsTheKernelReadsIt(t *testing.T) {
	addr := netip.MustParseAddr
	for line, want := range map[string]Static{
		"quiet":                       {},
		"ip=dhcp":                     {},
		"ip=:::::eth1:dhcp":           {Device: "eth1"},
		"ip=192.0.2.5":                {Address: netip.MustParsePrefix("192.0.2.5/24")},
		"ip=10.0.0.5::10.0.0.1":       {Address: netip.MustParsePrefix("10.0.0.5/8"), Router: addr("10.0.0.1")},
		"ip=9.9.9.9 ip=172.16.0.5":    {Address: netip.MustParsePrefix("172.16.0.5/16")},
		"ip=192.0.2.5::::box:eth0:on": {Address: netip.MustParsePrefix("192.0.2.5/24"), Hostname: "box", Device: "eth0"},
		"x ip=192.0.2.5:192.0.2.9:192.0.2.1:255.255.255.128:box:eth0:off:192.0.2.2:192.0.2.3:192.0.2.4 y": {Address: netip.MustParsePrefix("192.0.2.5/25"),
			Router: addr("192.0.2.1"), Hostname: "box", Device: "eth0", DNS: []netip.Addr{addr("192.0.2.2"), addr("192.0.2.3")}},
	} {
		if got, mistake := ParseStatic(line); mistake != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %q, want %+v", line, got, mistake, want)
		}
	}
	for line, want := range map[string]string{
		"ip=off": "cannot be reached", "ip=bootp": "not supported", "ip=1.2.3": "no IPv4 address", "ip=224.0.0.1": "no IPv4 address", "ip=[::1]": "no IPv4 address",
		"ip=192.0.2.5:::255.0.255.0": "no network mask", "ip=192.0.2.5:::0.0.0.0": "no network mask", "ip=192.0.2.5::x": "no IPv4 address",
		"ip=192.0.2.5::::a'b": "no host name", "ip=192.0.2.5:::::../x": "no name of a card", "ip=1:2:3:4:5:6:7:8:9:10:11": "more than ten",
	} {
		if got, mistake := ParseStatic(line); !strings.Contains(mistake, want) || got.Address.IsValid() {
			t.Errorf("%s: %+v %q, want %q", line, got, mistake, want)
		}
	}
}

func FuzzParseStatic(f *testing.F) {
	f.Add("ip=192.0.2.5:192.0.2.9:192.0.2.1:255.255.255.128:box:eth0:off:192.0.2.2")
	f.Add("ip=:::::eth1:dhcp")
	f.Fuzz(func(t *testing.T, line string) {
		s, mistake := ParseStatic(line)
		if mistake != "" && !reflect.DeepEqual(s, Static{}) {
			t.Errorf("%q is a mistake (%s), and read as %+v", line, mistake, s)
		}
		if s.Address.IsValid() && (!s.Address.Addr().Is4() || s.Address.Bits() < 1) || strings.ContainsAny(s.Hostname, "\n '") {
			t.Errorf("%+v", s)
		}
		if !s.Address.IsValid() {
			return
		}
		for _, line := range strings.Split(strings.TrimSpace(string(s.lease().ipconfig())), "\n") {
			if name, value, ok := strings.Cut(line, "="); !ok || strings.ContainsAny(name, "' ") || strings.Count(value, "'") != 2 {
				t.Errorf("a shell would read %q", line)
			}
		}
	})
}

func TestTheBootLoadersLeaseIsReadWholeOrNotAtAll(t *testing.T) {
	const least = "spate.lease=192.0.2.50,1:ffffff80,51:00000e10,54:c0000201"
	whole := strings.Replace(least, ",51", ",3:c0000209,6:c0000202c0000203,12:626f78,15:6c6162,26:0578,51", 1)
	want := Lease{Address: netip.MustParsePrefix("192.0.2.50/25"), Server: netip.MustParseAddr("192.0.2.1"), Valid: time.Hour, Renew: 30 * time.Minute,
		Rebind: 52*time.Minute + 30*time.Second, Unconfirmed: true}
	for _, line := range []string{least, "spate.lease= quiet " + least + " ro", strings.Replace(least, ",51", ",3:,6:,119:,51", 1)} {
		if got := ParseLease(line); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
	want.Router, want.DNS = netip.MustParseAddr("192.0.2.9"), []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	want.Hostname, want.Domain, want.MTU = "box", "lab", 1400
	if got := ParseLease(whole); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for n := range whole { // a command line that was cut
		if got := ParseLease(whole[:n]); got.Address.IsValid() {
			t.Errorf("%s: %+v", whole[:n], got)
		}
	}
	for _, line := range []string{
		least + " BOOTIF=01-52-54-00-12-34-56", strings.Replace(least, "00000e10", "ffffffff", 1), "", "spate.lease=,1:ffffff00,51:00000e10,54:c0000201", "spate.lease=fe80::1,1:ffffff00,51:00000e10,54:c0000201", "spate.lease=224.0.0.1,1:ffffff00,51:00000e10,54:c0000201",
		"spate.lease=192.0.2.50,51:00000e10,54:c0000201", "spate.lease=192.0.2.50,1:ffffff00,54:c0000201", "spate.lease=192.0.2.50,1:ff00ff00,51:00000e10,54:c0000201",
		"spate.lease=192.0.2.50,1:ffffff00,51:00000e10", "spate.lease=192.0.2.50,1:ffffff00,51:0xe10,54:c0000201", least + " spate.lease=",
	} {
		if got := ParseLease(line); got.Address.IsValid() {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

func TestTheBootLoadersLeaseIsForItsCardAndForAWhile(t *testing.T) {
	card := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0xa}
	l := ParseLease("spate.lease=192.0.2.50,1:ffffff00,51:00000e10,54:c0000201")
	static, _ := ParseStatic("ip=192.0.2.5:::255.255.255.0")
	for _, c := range []struct {
		want Want
		mac  string
		now  time.Duration
		ip   string
	}{
		{Want{Card: card, Lease: l}, "52:54:00:00:00:0a", 29 * time.Minute, "192.0.2.50/24"},
		{Want{Card: card, Lease: l}, "52:54:00:00:00:0a", 30 * time.Minute, "invalid Prefix"},
		{Want{Card: card, Lease: l}, "52:54:00:00:00:0b", 0, "invalid Prefix"},
		{Want{Lease: l}, "52:54:00:00:00:0a", 0, "invalid Prefix"},
		{Want{Card: card}, "52:54:00:00:00:0a", 0, "invalid Prefix"},
		{Want{Card: card, Lease: l, Static: static}, "52:54:00:00:00:0a", time.Hour, "192.0.2.5/24"},
	} {
		if got := c.want.given(c.mac, c.now).Address.String(); got != c.ip {
			t.Errorf("%+v, card %s after %v: %s, want %s", c.want, c.mac, c.now, got, c.ip)
		}
	}
}

func FuzzParseLease(f *testing.F) {
	f.Add("192.0.2.50,1:ffffff80,3:c0000209,51:00000e10,121:180a00000a010203,54:c0000201")
	f.Fuzz(func(t *testing.T, value string) {
		l := parseLease(value)
		if l.Address.IsValid() && (!l.Address.Addr().Is4() || l.Address.Bits() < 1 || !l.Server.IsValid() || !l.Unconfirmed || l.Valid <= 0 || l.Renew <= 0 || l.Renew >= l.Valid || strings.ContainsAny(l.Hostname+l.Domain, " \n'\"$`;")) {
			t.Errorf("%+v", l)
		}
	})
}

// The kernel's state goes through these steps; each says what the keeper does about it.
func TestTheKeeperRepairsWhatNobodyElseDoes(t *testing.T) {
	lease := Lease{Index: 2, Name: "eth0", MAC: "52:54:00:00:00:0a", Address: netip.MustParsePrefix("192.0.2.50/24"), Router: netip.MustParseAddr("192.0.2.1")}
	eth := card{index: 2, name: "eth0", mac: lease.MAC, kind: "device", ethernet: true, up: true, carrier: true}
	ours := ifAddr{2, lease.Address, false}
	route := ifRoute{2, netip.MustParsePrefix("0.0.0.0/0"), lease.Router}
	good := state{[]card{eth}, []ifAddr{ours}, []ifRoute{route}}
	with := func(change func(*state)) state {
		s := state{[]card{eth}, []ifAddr{ours}, []ifRoute{route}}
		change(&s)
		return s
	}
	flushed := with(func(s *state) { s.addrs, s.routes = nil, nil })
	down := with(func(s *state) { s.cards[0].up, s.cards[0].carrier, s.routes = false, false, nil })
	for name, steps := range map[string][]struct {
		at      time.Duration
		s       state
		address bool
		up      bool
		renew   bool
		says    string
	}{
		"all is well":     {{0, good, false, false, true, ""}, {time.Hour, good, false, false, true, ""}},
		"flushed":         {{0, flushed, false, false, true, ""}, {repairAfter - 1, flushed, false, false, true, ""}, {repairAfter, flushed, true, false, true, "is missing on eth0"}},
		"flushed and set": {{0, flushed, false, false, true, ""}, {1, good, false, false, true, ""}, {repairAfter, flushed, false, false, true, ""}},
		"down":            {{0, down, false, false, true, ""}, {repairAfter, down, true, true, true, "the card is down"}},
		"no route": {{0, with(func(s *state) { s.routes = nil }), false, false, true, ""},
			{repairAfter, with(func(s *state) { s.routes = nil }), true, false, true, "route through 192.0.2.1 is missing"}},
		"no link": {{0, with(func(s *state) { s.cards[0].carrier, s.routes = false, nil }), false, false, true, ""},
			{repairAfter, with(func(s *state) { s.cards[0].carrier, s.routes = false, nil }), false, false, true, ""}},
		"a lifetime": {{0, with(func(s *state) { s.addrs[0].finite = true }), false, false, false, "given 192.0.2.50 a lifetime"}, {repairAfter, good, false, false, true, "does again"}},
		"another address": {{0, with(func(s *state) { s.addrs[0].prefix = netip.MustParsePrefix("192.0.2.77/24") }), false, false, false, "set the address 192.0.2.77/24"},
			{repairAfter, with(func(s *state) { s.addrs[0].prefix = netip.MustParsePrefix("192.0.2.77/24") }), false, false, false, ""}},
		"a bridge": {{0, with(func(s *state) {
			s.cards = append(s.cards, card{index: 5, name: "br0", mac: lease.MAC, kind: "bridge", ethernet: true, up: true})
			s.cards[0].master, s.addrs = 5, []ifAddr{{5, netip.MustParsePrefix("198.51.100.7/24"), true}}
		}), false, false, false, "set the address 198.51.100.7/24"}},
		"a container's address is no one's for the card": {{0, with(func(s *state) { s.addrs = []ifAddr{{7, netip.MustParsePrefix("172.17.0.1/16"), false}} }), false, false, true, ""},
			{repairAfter, with(func(s *state) { s.addrs = []ifAddr{{7, netip.MustParsePrefix("172.17.0.1/16"), false}} }), true, false, true, "is missing"}},
		"renamed": {{0, with(func(s *state) { s.cards[0].name = "ens3" }), false, false, true, "is called ens3 now"}},
		"gone and back": {{0, state{}, false, false, true, "is gone"}, {1, state{}, false, false, true, ""},
			{2, with(func(s *state) { s.cards[0].index, s.addrs, s.routes = 6, nil, nil }), false, false, true, "is back"},
			{2 + repairAfter, with(func(s *state) { s.cards[0].index, s.addrs, s.routes = 6, nil, nil }), true, false, true, "is missing"}},
	} {
		k := keeper{lease: lease}
		for i, c := range steps {
			r := k.step(c.at, c.s)
			says := strings.Join(r.lines, "\n")
			if r.address != c.address || r.up != c.up || r.renew != c.renew || (says == "") != (c.says == "") || !strings.Contains(says, c.says) || r.next <= c.at {
				t.Errorf("%s, step %d: %+v", name, i, r)
			}
		}
	}
}

// Where networkd is not started its files are not looked at.
func TestNetworkdIsExpectedWhereTheSystemStartsIt(t *testing.T) {
	for name, c := range map[string]struct {
		file, content string
		want          bool
	}{
		"nothing says so": {"etc/hostname", "pc", false},
		"enabled":         {"etc/systemd/system/dbus-org.freedesktop.network1.service", "", true},
		"by netplan":      {"etc/netplan/50-cloud-init.yaml", "", true},
		"first boot":      {"etc/machine-id", "uninitialized\n", true},
		"no boot yet":     {"etc/machine-id", "", false},
	} {
		root := t.TempDir()
		for _, f := range [][2]string{{"etc/machine-id", "5ba7e05ba7e05ba7e05ba7e05ba7e05b\n"}, {c.file, c.content}} {
			path := filepath.Join(root, f[0])
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(f[1]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := networkdRuns(root); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !networkdRuns(t.TempDir()) {
		t.Error("a root without machine-id boots for the first time")
	}
}

func TestTheSystemIsToldToLeaveTheAddressAlone(t *testing.T) {
	run, root := t.TempDir(), t.TempDir()
	put := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("etc/systemd/network/10-lan.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n")
	put("etc/systemd/network/20-other.network", "[Match]\nMACAddress=52:54:00:00:00:ff\n[Network]\nDHCP=yes\n")
	put("usr/lib/systemd/network/30-tap.network", "[Match]\nKind=tun\nName=tap*\n[Network]\nDHCP=yes\n")
	put("usr/lib/systemd/network/80-vm-vt.network", "[Match]\nName=*\n") // such a file of systemd's is not read
	put("etc/systemd/network/80-container-vz.network", "[Match]\nName=*\n")
	put("etc/resolv.conf", "")
	l := Lease{Index: 2, Name: "eth0", MAC: "52:54:00:00:00:0a", Address: netip.MustParsePrefix("192.0.2.50/25"), Router: netip.MustParseAddr("192.0.2.1"),
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.2")}, Server: netip.MustParseAddr("192.0.2.3"), Hostname: "box", Valid: time.Hour}
	if err := HandOver(run, root, Lease{Name: "eth0"}); err == nil {
		t.Error("a lease without an address is handed over")
	}
	if err := HandOver(run, root, l); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"net-eth0.conf":                                        "IPV4BROADCAST='192.0.2.127'\nIPV4NETMASK='255.255.255.128'\nIPV4GATEWAY='192.0.2.1'\nIPV4DNS0='192.0.2.2'\nIPV4DNS1='0.0.0.0'\nHOSTNAME='box'\n",
		"systemd/network/zz-spate.network":                     "\nMACAddress=52:54:00:00:00:0a\n",
		"systemd/network/10-lan.network.d/spate.conf":          "KeepConfiguration=yes\n",
		"systemd/network/80-container-vz.network.d/spate.conf": "KeepConfiguration=yes\n",
		"NetworkManager/conf.d/spate.conf":                     "match-device=mac:52:54:00:00:00:0a\nkeep-configuration=yes\n",
		"spate/resolv.conf":                                    "nameserver 192.0.2.2\n",
		"../" + filepath.Base(root) + "/etc/resolv.conf":       "nameserver 192.0.2.2\n",
	} {
		b, err := os.ReadFile(filepath.Join(run, name))
		if strings.HasPrefix(name, "../") {
			b, err = os.ReadFile(filepath.Join(root, "etc/resolv.conf"))
		}
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v\n%s", name, err, b)
		}
	}
	for _, name := range []string{"20-other", "30-tap", "80-vm-vt"} {
		if _, err := os.Stat(filepath.Join(run, "systemd/network", name+".network.d")); err == nil {
			t.Errorf("%s does not mean this card", name)
		}
	}
}
