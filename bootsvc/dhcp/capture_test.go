package dhcp

import (
	"bufio"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/spate-project/spate/bootsvc"
)

// captures gives the packets of testdata by name.
func captures(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("../../testdata/boot/dhcp/*.hex")
	if err != nil || len(names) < 15 {
		t.Fatal(names, err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var b []byte
		for s := bufio.NewScanner(f); s.Scan(); {
			if line := s.Text(); !strings.HasPrefix(line, "#") {
				part, err := hex.DecodeString(line)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				b = append(b, part...)
			}
		}
		f.Close()
		all[strings.TrimSuffix(filepath.Base(name), ".hex")] = b
	}
	return all
}

// change gives a packet with options set, as firmware that QEMU does not have would send it; a nil value removes one.
func change(t testing.TB, b []byte, options map[uint8][]byte) []byte {
	t.Helper()
	p, err := dhcpv4.FromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	for code, v := range options {
		p.Options[code] = v
		if v == nil {
			delete(p.Options, code)
		}
	}
	return p.ToBytes()
}

func captureConfig(t testing.TB, mode Mode) Config {
	c := Config{
		Mode: mode, Interface: "test0", Addr: at("10.77.0.1"), Server: bootsvc.Server{Addr: at("10.77.0.1"), HTTP: 6980},
		Subnets: []Subnet{
			{Network: netip.MustParsePrefix("10.77.0.0/24"), Pools: []Range{{at("10.77.0.50"), at("10.77.0.200")}}, Router: at("10.77.0.254"), DNS: []netip.Addr{at("10.77.0.53")}, Domain: "lab.example"},
			{Network: netip.MustParsePrefix("10.88.0.0/24"), Pools: []Range{{at("10.88.0.50"), at("10.88.0.99")}}},
		},
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	return c
}

// deliver gives a core one packet and lets ARP stay silent; the replies to it, and what was told.
func deliver(t testing.TB, c Config, d *fakeDirectory, in packet) ([]outgoing, *core) {
	t.Helper()
	core := newCore(c, d, func(lease) {})
	core.receive(start, in)
	core.tick(start.Add(arpWait))
	return core.out, core
}

const (
	rom      = "http://10.77.0.1:6980/script/52-54-00-77-00-01"
	bios     = "ipxe/undionly.kpxe"
	uefi     = "ipxe/snponly.efi"
	uefiHTTP = "http://10.77.0.1:6980/ipxe/snponly.efi"
)

// pxe makes of iPXE's packet one of firmware.
var pxe = map[uint8][]byte{77: nil, 175: nil}

// What each client is told: who it is taken for, the boot file, the vendor class, and option 43.
func TestEachClientIsRecognizedAndToldWhatItNeeds(t *testing.T) {
	all := captures(t)
	for _, c := range []struct {
		name    string
		from    string
		options map[uint8][]byte
		who     string
		file    string
		vendor  string
		control bool
	}{
		{"option ROM", "rom-discover", nil, "iPXE on BIOS", rom, "", false},
		{"option ROM", "rom-request", nil, "iPXE on BIOS", rom, "", false},
		{"undionly", "undionly-discover", nil, "iPXE on BIOS", rom, "", false},
		{"undionly", "undionly-request", nil, "iPXE on BIOS", rom, "", false},
		{"OVMF", "ovmf-discover", nil, "UEFI x86-64 firmware (PXE)", uefi, "PXEClient", true},
		{"OVMF", "ovmf-request", nil, "UEFI x86-64 firmware (PXE)", uefi, "PXEClient", true},
		{"OVMF HTTP", "ovmf-http-discover", nil, "UEFI x86-64 firmware (HTTP)", uefiHTTP, "HTTPClient", false},
		{"OVMF HTTP", "ovmf-http-request", nil, "UEFI x86-64 firmware (HTTP)", uefiHTTP, "HTTPClient", false},
		{"snponly", "snponly-discover", nil, "iPXE on UEFI x86-64", strings.Replace(rom, "-01", "-02", 1), "", false},
		{"snponly", "snponly-request", nil, "iPXE on UEFI x86-64", strings.Replace(rom, "-01", "-02", 1), "", false},
		{"udhcpc", "udhcpc-discover", nil, `operating system ("udhcp 1.35.0")`, "", "", false},
		{"udhcpc", "udhcpc-request", nil, `operating system ("udhcp 1.35.0")`, "", "", false},
		{"BIOS by RFC 4578", "rom-discover", pxe, "BIOS firmware (PXE)", bios, "PXEClient", true},
		{"BIOS without option 93", "rom-discover", map[uint8][]byte{77: nil, 175: nil, 93: nil}, "BIOS firmware (PXE)", bios, "PXEClient", true},
		{"PXE 1.0", "rom-discover", map[uint8][]byte{77: nil, 175: nil, 93: nil, 60: []byte("PXEClient")}, "BIOS firmware (PXE)", bios, "PXEClient", true},
		{"UEFI without option 93", "ovmf-discover", map[uint8][]byte{93: nil}, "UEFI x86-64 firmware (PXE)", uefi, "PXEClient", true},
		{"UEFI without option 60", "ovmf-discover", map[uint8][]byte{60: nil}, "UEFI x86-64 firmware (PXE)", uefi, "PXEClient", true},
		{"UEFI that is EBC", "ovmf-discover", map[uint8][]byte{93: {0, 9}}, "UEFI x86-64 firmware (PXE)", uefi, "PXEClient", true},
		{"UEFI with two architectures", "ovmf-discover", map[uint8][]byte{93: {0, 2, 0, 7}}, "UEFI x86-64 firmware (PXE)", uefi, "PXEClient", true},
		{"UEFI, HTTP's number with PXE's class", "ovmf-discover", map[uint8][]byte{93: {0, 16}}, "UEFI x86-64 firmware (PXE)", uefi, "PXEClient", true},
		{"UEFI, PXE's number with HTTP's class", "ovmf-http-discover", map[uint8][]byte{93: {0, 7}}, "UEFI x86-64 firmware (HTTP)", uefiHTTP, "HTTPClient", false},
		{"arm64", "ovmf-discover", map[uint8][]byte{93: {0, 11}, 60: []byte("PXEClient:Arch:00011:UNDI:003000")}, "UEFI arm64 firmware (PXE)", "ipxe/arm64.efi", "PXEClient", true},
		{"arm64 HTTP", "ovmf-http-discover", map[uint8][]byte{93: {0, 19}}, "UEFI arm64 firmware (HTTP)", "http://10.77.0.1:6980/ipxe/arm64.efi", "HTTPClient", false},
		{"Itanium", "ovmf-discover", map[uint8][]byte{93: {0, 2}}, "architecture 2 firmware (PXE)", "", "", false},
		{"option 93 of one byte", "ovmf-discover", map[uint8][]byte{93: {7}}, "UEFI x86-64 firmware (PXE)", uefi, "PXEClient", true},
		{"iPXE, class by RFC 3004", "rom-discover", map[uint8][]byte{77: append([]byte{3, 'l', 'a', 'b', 4}, "iPXE"...), 175: nil}, "iPXE on BIOS", rom, "", false},
		{"iPXE, class changed by its script", "rom-discover", map[uint8][]byte{77: []byte("lab")}, "iPXE on BIOS", rom, "", false},
		{"iPXE without anything else", "rom-discover", map[uint8][]byte{60: nil, 93: nil, 175: nil}, "iPXE on unknown architecture", rom, "", false},
		{"Etherboot", "rom-discover", map[uint8][]byte{77: []byte("Etherboot"), 175: {1, 1, 5}}, "BIOS firmware (PXE)", bios, "PXEClient", true},
	} {
		d := &fakeDirectory{}
		out, core := deliver(t, captureConfig(t, ModeServer), d, packet{bytes: change(t, all[c.from], c.options), broadcast: true})
		if len(out) != 1 || len(core.pending) != 0 {
			t.Errorf("%s (%s): %d replies; %v", c.name, c.from, len(out), d.events)
			continue
		}
		p, err := dhcpv4.FromBytes(out[0].bytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.events) != 1 || !strings.Contains(d.events[0].Text, ", "+c.who+", ") || d.events[0].Problem != (c.name == "Itanium") {
			t.Errorf("%s (%s): told %+v, want %s", c.name, c.from, d.events, c.who)
		}
		if p.BootFileName != c.file || p.BootFileNameOption() != c.file || p.ClassIdentifier() != c.vendor {
			t.Errorf("%s (%s): file %q and %q, class %q; want %q, %q", c.name, c.from, p.BootFileName, p.BootFileNameOption(), p.ClassIdentifier(), c.file, c.vendor)
		}
		if got := string(p.Options[43]) == "\x06\x01\x08\xff"; got != c.control {
			t.Errorf("%s (%s): option 43 is % x", c.name, c.from, p.Options[43])
		}
		noProxy := string(p.Options[175]) == "\xb0\x01\x01"
		if ipxe := strings.HasPrefix(c.who, "iPXE"); noProxy != ipxe {
			t.Errorf("%s (%s): option 175 is % x", c.name, c.from, p.Options[175])
		}
		if c.file != "" && (!p.ServerIPAddr.Equal(net.IP{10, 77, 0, 1}) || p.ServerHostName != "10.77.0.1" || p.TFTPServerName() != "10.77.0.1") {
			t.Errorf("%s (%s): loads from %s, %q, %q", c.name, c.from, p.ServerIPAddr, p.ServerHostName, p.TFTPServerName())
		}
		checkLease(t, c.name, p)
	}
}

func checkLease(t *testing.T, name string, p *dhcpv4.DHCPv4) {
	t.Helper()
	ones, _ := p.SubnetMask().Size()
	if ones != 24 || !p.Router()[0].Equal(net.IP{10, 77, 0, 254}) || !p.DNS()[0].Equal(net.IP{10, 77, 0, 53}) || p.DomainName() != "lab.example" ||
		p.IPAddressLeaseTime(0) != leaseUsual || p.IPAddressRenewalTime(0) != leaseUsual/2 || p.IPAddressRebindingTime(0) != leaseUsual*7/8 ||
		!p.ServerIdentifier().Equal(net.IP{10, 77, 0, 1}) || !captureSubnet.Contains(ip(p.YourIPAddr)) {
		t.Errorf("%s: %s", name, p.Summary())
	}
}

var captureSubnet = netip.MustParsePrefix("10.77.0.0/24")

func TestAProxyGivesFilesToFirmwareAloneAndNeverAnAddress(t *testing.T) {
	all := captures(t)
	for _, c := range []struct {
		from, file, vendor, control string
		boot                        bool
		options                     map[uint8][]byte
	}{
		{from: "rom-discover", file: rom, vendor: "PXEClient"},
		{from: "rom-discover", file: bios, vendor: "PXEClient", control: "\x06\x01\x08\xff", options: map[uint8][]byte{77: nil, 175: nil}},
		{from: "ovmf-discover", file: uefi, vendor: "PXEClient"}, // without option 43 it asks at port 4011
		{from: "ovmf-boot", file: uefi, vendor: "PXEClient", control: "\x06\x01\x08\xff", boot: true},
		{from: "ovmf-boot", file: uefi, vendor: "PXEClient", control: "\x06\x01\x08\x47\x04\x80\x00\x00\x00\xff", boot: true,
			options: map[uint8][]byte{43: {0, 71, 4, 0x80, 0, 0, 0, 255}}}, // an item of a boot menu
		{from: "ovmf-http-discover", file: uefiHTTP, vendor: "HTTPClient"},
		{from: "snponly-discover", file: strings.Replace(rom, "-01", "-02", 1), vendor: "PXEClient"},
		{from: "rom-request"}, {from: "ovmf-request-other"}, {from: "udhcpc-discover"}, {from: "udhcpc-request"}, {from: "dnsmasq-offer"},
	} {
		in := packet{bytes: change(t, all[c.from], c.options), broadcast: true, boot: c.boot}
		if c.boot {
			in.from = netip.MustParseAddrPort("10.77.0.200:4011")
		}
		out, _ := deliver(t, captureConfig(t, ModeProxy), &fakeDirectory{}, in)
		if (len(out) == 1) != (c.file != "") {
			t.Errorf("%s: %d replies", c.from, len(out))
		}
		for _, o := range out {
			p, err := dhcpv4.FromBytes(o.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if p.BootFileName != c.file || p.ClassIdentifier() != c.vendor || string(p.Options[43]) != c.control || ip(p.YourIPAddr).IsValid() || p.Options.Has(dhcpv4.OptionIPAddressLeaseTime) {
				t.Errorf("%s: %s", c.from, p.Summary())
			}
			if want := map[bool]string{false: "255.255.255.255:68", true: "10.77.0.200:4011"}[c.boot]; o.to.addr.String() != want || o.boot != c.boot {
				t.Errorf("%s: sent to %v from the boot port: %v", c.from, o.to.addr, o.boot)
			}
		}
	}
}

// A packet that was cut anywhere gets no reply, or one to what is left of it; one that has not even a whole header never gets one,
// and each that gets none has a reason that fits one line of a log.
func TestAPacketThatWasCutHarmsNobody(t *testing.T) {
	const header = 240 // RFC 2131 section 2, with the magic cookie
	for name, b := range captures(t) {
		for n := range len(b) {
			d := &fakeDirectory{}
			out, c := deliver(t, captureConfig(t, ModeServer), d, packet{bytes: b[:n], from: netip.MustParseAddrPort("10.77.0.60:68"), broadcast: true})
			if n < header && len(out) != 0 || len(out) > 1 {
				t.Errorf("%s, %d bytes: %d replies", name, n, len(out))
			}
			for _, o := range out {
				checkReply(t, b[:n], o)
			}
			if len(out) == 0 && n >= header && len(d.events) == 0 && len(c.pending) == 0 && b[0] == byte(dhcpv4.OpcodeBootRequest) {
				t.Errorf("%s, %d bytes: silence without a reason", name, n)
			}
			for _, e := range d.events {
				if len(e.Text) > 2000 || strings.ContainsAny(e.Text, "\n\x1b") {
					t.Errorf("%s, %d bytes: told %q", name, n, e.Text)
				}
			}
		}
	}
}
