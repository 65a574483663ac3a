package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
)

// edit gives a packet with header fields changed.
func edit(t testing.TB, b []byte, do func(*dhcpv4.DHCPv4)) []byte {
	t.Helper()
	p, err := dhcpv4.FromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	do(p)
	return p.ToBytes()
}

// relayed makes a packet one that a relay agent sends on.
func relayed(p *dhcpv4.DHCPv4) {
	p.GatewayIPAddr, p.HopCount = net.IP{10, 88, 0, 254}, 1
	p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, []byte("\x01\x04port")))
}

// RFC 2131 section 4.1: relay agent, renewal, broadcast flag, machine without an address.
func TestRepliesGoWhereTheMachineHearsThem(t *testing.T) {
	all := captures(t)
	mac := bootsvc.MAC{0x52, 0x54, 0, 0x77, 0, 1}
	renewing := func(addr net.IP) func(*dhcpv4.DHCPv4) {
		return func(p *dhcpv4.DHCPv4) {
			p.ClientIPAddr = addr
			p.DeleteOption(dhcpv4.OptionRequestedIPAddress)
			p.DeleteOption(dhcpv4.OptionServerIdentifier)
		}
	}
	for _, c := range []struct {
		name, from string
		edit       func(*dhcpv4.DHCPv4)
		source     string // unicast when not empty
		want       dhcpv4.MessageType
		to         string
		direct     bool
		mac        bootsvc.MAC
		inside     string
	}{
		{name: "no flag", from: "rom-discover", edit: func(*dhcpv4.DHCPv4) {}, want: dhcpv4.MessageTypeOffer, to: "10.77.0.50:68", direct: true, mac: mac, inside: "10.77.0.0/24"},
		{name: "broadcast flag", from: "rom-discover", edit: func(p *dhcpv4.DHCPv4) { p.SetBroadcast() }, want: dhcpv4.MessageTypeOffer, to: "255.255.255.255:68", direct: true, mac: everybody.mac, inside: "10.77.0.0/24"},
		{name: "relay", from: "rom-discover", edit: relayed, want: dhcpv4.MessageTypeOffer, to: "10.88.0.254:67", inside: "10.88.0.0/24"},
		{name: "relay with link selection", from: "rom-discover", want: dhcpv4.MessageTypeOffer, to: "10.88.0.254:67", inside: "10.77.0.0/24", edit: func(p *dhcpv4.DHCPv4) {
			relayed(p)
			p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, []byte{5, 4, 10, 77, 0, 0}))
		}},
		{name: "renewing", from: "udhcpc-request", edit: renewing(net.IP{10, 77, 0, 60}), source: "10.77.0.60:68", want: dhcpv4.MessageTypeAck, to: "10.77.0.60:68", inside: "10.77.0.0/24"},
		{name: "renewing past its relay agent", from: "udhcpc-request", edit: renewing(net.IP{10, 88, 0, 60}), source: "10.88.0.60:68", want: dhcpv4.MessageTypeAck, to: "10.88.0.60:68", inside: "10.88.0.0/24"},
		{name: "rebinding in the wrong network", from: "udhcpc-request", edit: renewing(net.IP{10, 88, 0, 60}), want: dhcpv4.MessageTypeNak, to: "255.255.255.255:68", direct: true, mac: everybody.mac},
		{name: "relayed refusal", from: "udhcpc-request", want: dhcpv4.MessageTypeNak, to: "10.88.0.254:67", edit: func(p *dhcpv4.DHCPv4) {
			relayed(p)
			renewing(net.IP{10, 77, 0, 60})(p)
		}},
		{name: "informing", from: "udhcpc-discover", source: "10.77.0.9:68", want: dhcpv4.MessageTypeAck, to: "10.77.0.9:68", edit: func(p *dhcpv4.DHCPv4) {
			p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeInform))
			p.ClientIPAddr = net.IP{10, 77, 0, 9}
		}},
	} {
		in := packet{bytes: edit(t, all[c.from], c.edit), broadcast: c.source == ""}
		if c.source != "" {
			in.from = netip.MustParseAddrPort(c.source)
		}
		d := &fakeDirectory{}
		out, _ := deliver(t, captureConfig(t, ModeServer), d, in)
		if len(out) != 1 {
			t.Errorf("%s: %d replies, %v", c.name, len(out), d.events)
			continue
		}
		p, err := dhcpv4.FromBytes(out[0].bytes)
		if err != nil {
			t.Fatal(err)
		}
		if o := out[0].to; p.MessageType() != c.want || o.addr.String() != c.to || o.direct != c.direct || o.mac != c.mac {
			t.Errorf("%s: %v to %+v; %v", c.name, p.MessageType(), o, d.events)
		}
		if c.inside != "" != ip(p.YourIPAddr).IsValid() || c.inside != "" && !netip.MustParsePrefix(c.inside).Contains(ip(p.YourIPAddr)) {
			t.Errorf("%s: gives %v", c.name, p.YourIPAddr)
		}
		asked, _ := dhcpv4.FromBytes(in.bytes)
		if !bytes.Equal(p.Options[82], asked.Options[82]) || !p.GatewayIPAddr.Equal(asked.GatewayIPAddr) || !bytes.Equal(p.Options[61], asked.Options[61]) {
			t.Errorf("%s: what must be repeated is not: %s", c.name, p.Summary())
		}
		if relay := asked.GatewayIPAddr.To4()[0] != 0; c.want == dhcpv4.MessageTypeNak && relay && !p.IsBroadcast() {
			t.Errorf("%s: the relay agent is not told to broadcast", c.name)
		}
	}
}

// Silence has its reason too.
func TestEachPacketThatGetsNoReplyHasAReason(t *testing.T) {
	all := captures(t)
	discover := all["rom-discover"]
	for _, c := range []struct {
		name    string
		in      []byte
		reason  string // empty: nobody wants to know
		problem bool
	}{
		{"a reply", all["dnsmasq-offer"], "", false},
		{"no DHCP", []byte("hello"), "", false},
		{"a group's address", edit(t, discover, func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = net.HardwareAddr{1, 0, 0, 0, 0, 1} }), "MAC address of a group", false},
		{"not Ethernet", edit(t, discover, func(p *dhcpv4.DHCPv4) { p.HWType = 32 }), "not Ethernet's", false},
		{"in circles", edit(t, discover, func(p *dhcpv4.DHCPv4) { p.HopCount = 17 }), "in circles", true},
		{"unknown relay", edit(t, discover, func(p *dhcpv4.DHCPv4) { p.GatewayIPAddr = net.IP{10, 99, 0, 1} }), "the network of relay agent 10.99.0.1 is no configured subnet; add it to boot.subnets", true},
		{"BOOTP", edit(t, discover, func(p *dhcpv4.DHCPv4) { p.DeleteOption(dhcpv4.OptionDHCPMessageType) }), "plain BOOTP", false},
		{"empty request", edit(t, discover, func(p *dhcpv4.DHCPv4) {
			p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
		}), "names no address", false},
	} {
		d := &fakeDirectory{}
		out, _ := deliver(t, captureConfig(t, ModeServer), d, packet{bytes: c.in, broadcast: true})
		if len(out) != 0 {
			t.Errorf("%s is answered", c.name)
		}
		if c.reason == "" && len(d.events) > 0 || c.reason != "" && (len(d.events) != 1 || !strings.Contains(d.events[0].Text, c.reason) || d.events[0].Problem != c.problem) {
			t.Errorf("%s: told %+v, want %q", c.name, d.events, c.reason)
		}
	}
}

// The farm is told who asks at the begin of a start: firmware and iPXE, and not a system that runs.
func TestTheFarmIsToldThatFirmwareAsks(t *testing.T) {
	discover := captures(t)["ovmf-discover"]
	system := edit(t, discover, func(p *dhcpv4.DHCPv4) {
		p.DeleteOption(dhcpv4.OptionClassIdentifier)
		p.DeleteOption(dhcpv4.OptionUserClassInformation)
		p.DeleteOption(dhcpv4.OptionClientSystemArchitectureType)
	})
	for _, c := range []struct {
		in       []byte
		firmware bool
	}{{discover, true}, {captures(t)["rom-discover"], true}, {system, false}} {
		d := &fakeDirectory{}
		deliver(t, captureConfig(t, ModeServer), d, packet{bytes: c.in, broadcast: true})
		if len(d.events) != 1 || d.events[0].Firmware != c.firmware {
			t.Errorf("told %+v, want firmware %v", d.events, c.firmware)
		}
	}
}

func TestWhatTheFarmSaysOfAMachineDecidesItsReply(t *testing.T) {
	discover := captures(t)["ovmf-discover"]
	for _, c := range []struct {
		name  string
		mode  Mode
		entry bootsvc.Entry
		file  string
		reply bool
		told  string
	}{
		{"refused", ModeServer, bootsvc.Entry{Refusal: "Device x is disabled."}, uefi, true, "it may not boot, and iPXE shows why: Device x is disabled."},
		{"none of ours", ModeServer, bootsvc.Entry{Silent: true, Why: "unknown devices are left alone"}, "", true, "no boot file: unknown devices are left alone"},
		{"none of ours, proxy", ModeProxy, bootsvc.Entry{Silent: true, Why: "unknown devices are left alone"}, "", false, "no answer: no boot file: unknown devices are left alone"},
		{"Secure Boot", ModeServer, bootsvc.Entry{SecureBoot: true}, "shimx64.efi", true, "signed shim"},
		{"reserved", ModeServer, bootsvc.Entry{Address: at("10.77.0.9"), Hostname: "pc9"}, uefi, true, "offered 10.77.0.9 (it is reserved for this device)"},
	} {
		d := &fakeDirectory{entry: func(bootsvc.Client) bootsvc.Entry { return c.entry }}
		out, _ := deliver(t, captureConfig(t, c.mode), d, packet{bytes: discover, broadcast: true})
		if len(out) == 1 != c.reply || len(d.events) != 1 || !strings.Contains(d.events[0].Text, c.told) || d.events[0].Problem {
			t.Errorf("%s: %d replies, told %+v", c.name, len(out), d.events)
			continue
		}
		if !c.reply {
			continue
		}
		p, err := dhcpv4.FromBytes(out[0].bytes)
		if err != nil {
			t.Fatal(err)
		}
		if p.BootFileName != c.file || p.HostName() != c.entry.Hostname || c.entry.Address.IsValid() && ip(p.YourIPAddr) != c.entry.Address {
			t.Errorf("%s: %s", c.name, p.Summary())
		}
	}
}

func TestAnAddressThatSomebodyAnswersForIsNotOffered(t *testing.T) {
	d := &fakeDirectory{}
	c := newCore(captureConfig(t, ModeServer), d, func(lease) {})
	c.receive(start, packet{bytes: captures(t)["ovmf-discover"], broadcast: true})
	if len(c.out) != 0 || len(c.questions) != 1 || c.questions[0] != at("10.77.0.50") {
		t.Fatalf("%v, %v", c.out, c.questions)
	}
	c.heard(start, link.Claim{MAC: link.MAC{2, 0, 0, 0, 0, 9}, Addr: at("10.77.0.50")})
	c.heard(start, link.Claim{MAC: link.MAC{0x52, 0x54, 0, 0x77, 0, 2}, Addr: at("10.77.0.51")}) // the machine itself may have it
	if next := c.tick(start.Add(arpWait)); !next.Equal(start.Add(2 * arpWait)) {
		t.Fatalf("next at %v", next)
	}
	if next := c.tick(start.Add(2 * arpWait)); len(c.pending) != 0 || len(c.out) != 1 || c.out[0].to.addr.Addr() != everybody.addr.Addr() {
		t.Fatalf("%v, %+v", next, c.out)
	}
	p, _ := dhcpv4.FromBytes(c.out[0].bytes)
	if ip(p.YourIPAddr) != at("10.77.0.51") || !strings.Contains(d.events[0].Text, "10.77.0.50 is used by 02:00:00:00:00:09") || !d.events[0].Problem {
		t.Errorf("%v; %+v", p.YourIPAddr, d.events)
	}
	if len(c.asked) != 0 || c.pending != nil {
		t.Errorf("left over: %v, %v", c.asked, c.pending)
	}
}

func TestAStrangersDHCPServerIsToldOnceEachTimeItAppears(t *testing.T) {
	all := captures(t)
	cfg := captureConfig(t, ModeServer)
	cfg.Addr = at("10.77.0.9")
	d := &fakeDirectory{farm: bootsvc.Farm{Servers: []bootsvc.Server{{Addr: at("10.77.0.2")}}}}
	c := newCore(cfg, d, func(lease) {})
	for i := range 3 {
		now := start.Add(time.Duration(i) * time.Hour)
		c.receive(now, packet{bytes: all["ovmf-request-other"], broadcast: true}) // of this farm
		c.receive(now, packet{bytes: all["rom-request"], broadcast: true})
		c.overheard(now, all["dnsmasq-offer"])
	}
	c.overheard(start.Add(2*time.Hour+rogueAgain), all["dnsmasq-offer"]) // somebody has plugged it in again
	told := 0
	for _, e := range d.events {
		if strings.HasPrefix(e.Text, "another DHCP server, 10.77.0.1, answers on this network") && e.Problem {
			told++
		} else if e.Problem {
			t.Errorf("%+v", e)
		}
	}
	if told != 2 {
		t.Errorf("told %d times: %+v", told, d.events)
	}
}

func TestAMachineThatSendsTooMuchIsNotLookedAtAndToldOnceASecond(t *testing.T) {
	d := &fakeDirectory{}
	c := newCore(captureConfig(t, ModeServer), d, func(lease) {})
	b := captures(t)["ovmf-request"]
	for range 1000 {
		c.receive(start, packet{bytes: b, broadcast: true})
	}
	if len(c.out) != perMAC || len(d.events) != 2 || !d.events[1].Problem {
		t.Errorf("%d replies, told %+v", len(c.out), d.events)
	}
	for i := range 3 * maxMACs { // many machines: the tables stay bounded
		c.receive(start, packet{bytes: edit(t, b, func(p *dhcpv4.DHCPv4) {
			p.ClientHWAddr = net.HardwareAddr{2, 0, 1, byte(i >> 16), byte(i >> 8), byte(i)}
		}), broadcast: true})
	}
	if len(c.limits.count) > maxMACs || len(c.noted) > maxNoted || len(c.leases.byAddr) > 300 {
		t.Errorf("%d counted, %d noted, %d leases", len(c.limits.count), len(c.noted), len(c.leases.byAddr))
	}
}

// Packets that are not even read far enough to be answered cost no more than others: not a line in the log for each.
func TestAFloodOfPacketsThatAreRefusedIsNotToldPacketByPacket(t *testing.T) {
	d := &fakeDirectory{}
	c := newCore(captureConfig(t, ModeServer), d, func(lease) {})
	b := captures(t)["ovmf-request"]
	for i := range maxMACs + 1000 {
		c.receive(start, packet{bytes: edit(t, b, func(p *dhcpv4.DHCPv4) {
			p.DeleteOption(dhcpv4.OptionDHCPMessageType) // plain BOOTP
			p.ClientHWAddr = net.HardwareAddr{2, 0, 1, byte(i >> 16), byte(i >> 8), byte(i)}
		}), broadcast: true})
	}
	if len(d.events) != maxMACs+1 {
		t.Fatalf("told %d times", len(d.events))
	}
	if last := d.events[maxMACs]; last.MAC != (bootsvc.MAC{}) || !last.Problem || !strings.Contains(last.Text, "more than 16384 machines ask in one second") {
		t.Errorf("of those that are not looked at is told %+v", last)
	}
}

// RFC 5107: a relay agent lets both servers name themselves as the agent, so that a REQUEST does not say whose offer is taken. The
// server of the share answers, and the other one must not refuse.
func TestBehindAnAgentThatStandsForTheServersOneOfThemAnswers(t *testing.T) {
	discover := captures(t)["rom-discover"]
	override := func(p *dhcpv4.DHCPv4) {
		relayed(p)
		p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, []byte{11, 4, 10, 88, 0, 254}))
	}
	var all []*core
	for i := range 2 {
		cfg := captureConfig(t, ModeServer)
		cfg.Share = Share{i, 2}
		all = append(all, newCore(cfg, &fakeDirectory{}, func(lease) {}))
	}
	for _, c := range all {
		c.receive(start, packet{bytes: edit(t, discover, override)})
	}
	offer, err := dhcpv4.FromBytes(all[0].out[0].bytes)
	if err != nil {
		t.Fatal(err)
	}
	request := edit(t, discover, func(p *dhcpv4.DHCPv4) {
		override(p)
		p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
		p.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))
		p.UpdateOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))
	})
	for i, c := range all {
		c.out = nil
		c.receive(start, packet{bytes: request})
		if len(c.out) != 1-i {
			t.Errorf("server %d: %d replies", i, len(c.out))
		}
	}
	if l := all[1].leases.byAddr[ip(offer.YourIPAddr)]; l == nil || l.State != stateNoted || len(all[1].leases.byAddr) != 1 {
		t.Errorf("the other one has %+v of %d", l, len(all[1].leases.byAddr))
	}
}

// A proxy is asked once more, at port 4011 of the address by which it names itself: an agent that stands for it there answers nobody.
func TestAProxyNamesItselfAlsoBehindAnAgentThatStandsForServers(t *testing.T) {
	in := edit(t, captures(t)["ovmf-discover"], func(p *dhcpv4.DHCPv4) {
		relayed(p)
		p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, []byte{11, 4, 10, 88, 0, 254}))
	})
	out, _ := deliver(t, captureConfig(t, ModeProxy), &fakeDirectory{}, packet{bytes: in})
	if len(out) != 1 {
		t.Fatalf("%d replies", len(out))
	}
	p, err := dhcpv4.FromBytes(out[0].bytes)
	if err != nil || ip(p.ServerIdentifier()) != at("10.77.0.1") || out[0].to.addr.String() != "10.88.0.254:67" {
		t.Errorf("%v, to %v: %s", err, out[0].to.addr, p.Summary())
	}
}

// The client says how much it can take; what it can do without is left out.
func TestAReplyIsNeverLongerThanItsClientCanTake(t *testing.T) {
	cfg := captureConfig(t, ModeServer)
	cfg.Subnets[0].Domain = strings.Repeat("d", 255)
	d := &fakeDirectory{entry: func(bootsvc.Client) bootsvc.Entry { return bootsvc.Entry{Hostname: strings.Repeat("h", 255)} }}
	for _, most := range []int{0, 576, 700, 1472, 65280} {
		in := change(t, captures(t)["ovmf-discover"], map[uint8][]byte{57: {byte(most >> 8), byte(most)}, 61: bytes.Repeat([]byte{1}, 255)})
		out, _ := deliver(t, cfg, d, packet{bytes: in, broadcast: true})
		p, err := dhcpv4.FromBytes(out[0].bytes)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(out[0].bytes); n > max(most, minMessage)-headers || n > maxMessage-headers || p.BootFileName != uefi || p.SubnetMask() == nil || (p.HostName() != "") != (most > 1000) {
			t.Errorf("client takes %d: %d bytes: %s", most, n, p.Summary())
		}
	}
}

// Only files are asked for at port 4011: what is about an address there must not reach the leases, which know of no subnet then.
func TestNobodyGivesBackAnAddressAtTheBootPort(t *testing.T) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline} {
		in := edit(t, captures(t)["rom-request"], func(p *dhcpv4.DHCPv4) {
			p.UpdateOption(dhcpv4.OptMessageType(kind))
			p.ClientIPAddr = net.IP{10, 77, 0, 9}
		})
		d := reserving()
		out, _ := deliver(t, captureConfig(t, ModeServer), d, packet{bytes: in, from: netip.MustParseAddrPort("10.77.0.9:68"), boot: true})
		if len(out) != 0 || len(d.events) != 1 || !strings.Contains(d.events[0].Text, "at port 4011, where nobody gives addresses") {
			t.Errorf("%v: %d replies, told %+v", kind, len(out), d.events)
		}
	}
}

// reserving is a farm with an address for each machine.
func reserving() *fakeDirectory {
	return &fakeDirectory{entry: func(bootsvc.Client) bootsvc.Entry { return bootsvc.Entry{Address: at("10.77.0.9")} }}
}

func FuzzAnyPacket(f *testing.F) {
	for _, b := range captures(f) {
		f.Add(b, true, false)
		f.Add(b, false, true)
		f.Add(edit(f, b, func(p *dhcpv4.DHCPv4) {
			p.GatewayIPAddr = net.IP{10, 88, 0, 254}
			p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, bytes.Repeat([]byte{5, 4, 10, 77, 0, 0}, 42)))
		}), true, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, broadcast, boot bool) {
		for i, d := range []*fakeDirectory{{}, {}, reserving()} {
			mode := []Mode{ModeServer, ModeProxy, ModeServer}[i]
			in := packet{bytes: b, from: netip.MustParseAddrPort("10.77.0.60:68"), broadcast: broadcast, boot: boot}
			out, c := deliver(t, captureConfig(t, mode), d, in)
			c.overheard(start, b)
			if len(out) > 1 {
				t.Fatalf("%d replies", len(out))
			}
			for _, o := range out {
				checkReply(t, b, o)
			}
			for _, e := range d.events {
				if len(e.Text) > 2000 || strings.ContainsAny(e.Text, "\n\x1b") {
					t.Errorf("told %q", e.Text)
				}
			}
		}
	})
}

func checkReply(t *testing.T, b []byte, o outgoing) {
	t.Helper()
	asked, err := dhcpv4.FromBytes(b)
	if err != nil || asked.OpCode != dhcpv4.OpcodeBootRequest {
		t.Fatalf("a reply to what is no request: %v", err)
	}
	most := minMessage
	if n, err := asked.MaxMessageSize(); err == nil {
		most = max(most, int(n))
	}
	if len(o.bytes) > min(most, maxMessage)-headers {
		t.Errorf("%d bytes for a client that takes %d", len(o.bytes), most)
	}
	p, err := dhcpv4.FromBytes(o.bytes)
	if err != nil || p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != asked.TransactionID || !bytes.Equal(p.ClientHWAddr, asked.ClientHWAddr) {
		t.Errorf("%v: %s", err, p.Summary())
	}
	if !o.to.addr.IsValid() || o.to.addr.Port() == 0 {
		t.Errorf("sent to %v", o.to.addr)
	}
}

func FuzzJournal(f *testing.F) {
	var file []byte
	for i := range 3 {
		file = appendRecord(file, lease{Addr: at(fmt.Sprintf("192.0.2.%d", i+1)), MAC: macOf(i), State: stateHeld, Until: start})
	}
	f.Add(file)
	f.Add(file[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _, err := readJournal(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		c := testConfig(t, "192.0.2.10", "192.0.2.19")
		l := newLeases(&c, func(lease) {})
		l.restore(all)
		var again []byte
		for _, x := range l.all() {
			again = appendRecord(again, x)
		}
		if back, bad, err := readJournal(bytes.NewReader(again)); bad != 0 || err != nil || len(back) != len(l.byAddr) {
			t.Errorf("%d of %d, %d bad, %v", len(back), len(l.byAddr), bad, err)
		}
	})
}
