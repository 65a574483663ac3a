package nic

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	mac    = net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}
	first  = net.IPv4(192, 0, 2, 1)
	second = net.IPv4(192, 0, 2, 2)
)

func same() uint32 { return 0x01020304 }

// reply answers a message.
func reply(to *dhcpv4.DHCPv4, kind dhcpv4.MessageType, from net.IP, you net.IP, more ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	p, err := dhcpv4.NewReplyFromRequest(to)
	if err != nil {
		panic(err)
	}
	p.YourIPAddr = you
	p.UpdateOption(dhcpv4.OptMessageType(kind))
	p.UpdateOption(dhcpv4.OptServerIdentifier(from))
	p.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)))
	p.UpdateOption(dhcpv4.OptIPAddressLeaseTime(time.Hour))
	for _, o := range more {
		p.UpdateOption(o)
	}
	// As it would come from the wire.
	out, err := dhcpv4.FromBytes(p.ToBytes())
	if err != nil {
		panic(err)
	}
	return out
}

// play is a client and the time.
type play struct {
	t *testing.T
	*client
	now   time.Duration
	lines string
}

func newPlay(t *testing.T) *play { return &play{t: t, client: newClient(mac, 0, same)} }

func (p *play) step(in *dhcpv4.DHCPv4) outcome {
	o := p.client.step(p.now, in)
	p.lines += strings.Join(o.lines, "\n") + "\n"
	if o.send != nil && !bytes.Equal(o.send.Options.Get(dhcpv4.OptionClientIdentifier), append([]byte{1}, mac...)) {
		p.t.Error("the client identifier is not the MAC address")
	}
	return o
}

// sends runs the clock until the client sends.
func (p *play) sends(kind dhcpv4.MessageType) *message {
	p.t.Helper()
	p.now = max(p.now, p.next)
	o := p.step(nil)
	if o.send == nil || o.send.MessageType() != kind {
		p.t.Fatalf("at %v in phase %d it sends %v, want %v", p.now, p.phase, o.send, kind)
	}
	return o.send
}

// lease gets an address.
func (p *play) getLease() Lease {
	p.t.Helper()
	d := p.sends(dhcpv4.MessageTypeDiscover)
	o := p.step(reply(d.DHCPv4, dhcpv4.MessageTypeOffer, first, net.IPv4(192, 0, 2, 50)))
	r := o.send
	if r == nil || r.To.IsValid() || !r.RequestedIPAddress().Equal(net.IPv4(192, 0, 2, 50)) || !r.ServerIdentifier().Equal(first) {
		p.t.Fatalf("asks for the offer by %v", r)
	}
	o = p.step(reply(r.DHCPv4, dhcpv4.MessageTypeAck, first, net.IPv4(192, 0, 2, 50)))
	if o.got == nil || o.got.Address != netip.MustParsePrefix("192.0.2.50/24") {
		p.t.Fatalf("got %+v", o.got)
	}
	return *o.got
}

// A lease that has run out in a machine's sleep is no fault of its servers, who were not asked.
func TestAServerThatWasNotAskedIsNotCalledSilent(t *testing.T) {
	p := newPlay(t)
	p.now = p.getLease().expires() + time.Hour
	p.sends(dhcpv4.MessageTypeDiscover)
	if !strings.Contains(p.lines, "the lease of 192.0.2.50 has run out: the address is kept") {
		t.Error(p.lines)
	}
}

func TestALeaseIsRenewedByItsServerThenByAnyThenKept(t *testing.T) {
	p := newPlay(t)
	l := p.getLease()
	if p.listening() || l.Valid != time.Hour || l.Renew != 30*time.Minute || l.Rebind != 52*time.Minute+30*time.Second {
		t.Errorf("%+v", l)
	}
	r := p.sends(dhcpv4.MessageTypeRequest)
	if p.now != l.Since+l.Renew || r.To.String() != "192.0.2.1" || !r.ClientIPAddr.Equal(net.IPv4(192, 0, 2, 50)) || r.RequestedIPAddress() != nil || r.ServerIdentifier() != nil {
		t.Errorf("renews at %v by %v to %v", p.now, r, r.To)
	}
	if o := p.step(reply(r.DHCPv4, dhcpv4.MessageTypeAck, first, net.IPv4(192, 0, 2, 50))); o.got == nil || o.got.Since != p.now {
		t.Errorf("renewed: %+v", o.got)
	}
	// Now nobody answers.
	l, asked, all := p.lease, 0, 0
	for p.now < l.expires() {
		p.now = p.next
		if o := p.step(nil); o.send != nil && p.phase == renewing {
			asked++
		} else if o.send != nil && p.phase == rebinding {
			all++
			if o.send.To.IsValid() || p.now < l.Since+l.Rebind {
				t.Errorf("at %v asks %v", p.now, o.send.To)
			}
		}
	}
	if asked < 3 || asked > 8 || all < 2 || all > 8 {
		t.Errorf("asked its server %d times and all of them %d times", asked, all)
	}
	if !strings.Contains(p.lines, "has run out") || p.phase != selecting || p.lease.Address != l.Address {
		t.Errorf("phase %d, %+v: %s", p.phase, p.lease, p.lines)
	}
	if !strings.Contains(p.lines, "no DHCP server answers") {
		t.Errorf("that nobody answers is not said: %s", p.lines)
	}
	// Any server may answer after that, with any address.
	d := p.sends(dhcpv4.MessageTypeDiscover)
	if !d.RequestedIPAddress().Equal(net.IPv4(192, 0, 2, 50)) {
		t.Errorf("wants %v back", d.RequestedIPAddress())
	}
	o := p.step(reply(d.DHCPv4, dhcpv4.MessageTypeOffer, second, net.IPv4(192, 0, 2, 60)))
	if o = p.step(reply(o.send.DHCPv4, dhcpv4.MessageTypeAck, second, net.IPv4(192, 0, 2, 60))); o.got == nil || o.got.Server.String() != "192.0.2.2" {
		t.Errorf("%+v", o.got)
	}
}

// The boot loader's lease is used at once, and its server is asked soon and several times; then it is a lease like any other.
func TestTheBootLoadersLeaseIsConfirmedSoon(t *testing.T) {
	l := ParseLease("quiet spate.lease=192.0.2.50,1:ffffff00,51:00000e10,54:c0000201")
	start := func() *play {
		p := newPlay(t)
		p.adopt(l, 0)
		return p
	}
	p := start()
	if p.listening() || p.next < confirmAfter || p.next > 2*confirmAfter {
		t.Errorf("in phase %d until %v", p.phase, p.next)
	}
	for range requests {
		r := p.sends(dhcpv4.MessageTypeRequest)
		if r.To.String() != "192.0.2.1" || !r.ClientIPAddr.Equal(net.IPv4(192, 0, 2, 50)) {
			t.Errorf("asks %v by %v", r.To, r)
		}
	}
	if p.now > time.Minute {
		t.Errorf("asked %d times within %v", requests, p.now)
	}
	// Others may know of it, and are asked as long as it lasts.
	for last := p.now; p.now < 10*time.Minute; last = p.now {
		if r := p.sends(dhcpv4.MessageTypeRequest); r.To.IsValid() || p.now-last > renewWait {
			t.Errorf("%v later asks %v", p.now-last, r.To)
		}
	}
	r := p.sends(dhcpv4.MessageTypeRequest)
	if o := p.step(reply(r.DHCPv4, dhcpv4.MessageTypeAck, first, net.IPv4(192, 0, 2, 50))); o.got == nil || o.got.Unconfirmed || p.next != p.lease.Since+30*time.Minute {
		t.Errorf("%+v until %v", o.got, p.next)
	}
	p = start()
	r = p.sends(dhcpv4.MessageTypeRequest)
	o := p.step(reply(r.DHCPv4, dhcpv4.MessageTypeNak, first, net.IPv4zero))
	if o.send == nil || o.send.MessageType() != dhcpv4.MessageTypeDiscover || !p.lease.Address.IsValid() {
		t.Errorf("refused, sends %v and keeps %v", o.send, p.lease.Address)
	}
}

func TestARefusedAddressIsKeptUntilThereIsAnother(t *testing.T) {
	p := newPlay(t)
	p.getLease()
	r := p.sends(dhcpv4.MessageTypeRequest)
	o := p.step(reply(r.DHCPv4, dhcpv4.MessageTypeNak, first, net.IPv4zero, dhcpv4.OptMessage("moved\nto 7")))
	if o.got != nil || o.send == nil || o.send.MessageType() != dhcpv4.MessageTypeDiscover || o.send.RequestedIPAddress() != nil || !p.lease.Address.IsValid() {
		t.Errorf("%+v, keeps %v", o, p.lease.Address)
	}
	if !strings.Contains(p.lines, `refuses 192.0.2.50 ("moved\nto 7")`) {
		t.Error(p.lines)
	}
}

func TestAnOfferThatIsNotConfirmedIsGivenUp(t *testing.T) {
	p := newPlay(t)
	d := p.sends(dhcpv4.MessageTypeDiscover)
	p.step(reply(d.DHCPv4, dhcpv4.MessageTypeOffer, first, net.IPv4(192, 0, 2, 50)))
	// Another server's refusal, and its confirmation of something that was not asked of it, count for nothing.
	p.step(reply(d.DHCPv4, dhcpv4.MessageTypeNak, second, net.IPv4zero))
	if o := p.step(reply(d.DHCPv4, dhcpv4.MessageTypeAck, second, net.IPv4(192, 0, 2, 66))); o.got != nil || p.phase != requesting {
		t.Errorf("%+v", o.got)
	}
	for range requests - 1 {
		p.sends(dhcpv4.MessageTypeRequest)
	}
	p.sends(dhcpv4.MessageTypeDiscover)
	if !strings.Contains(p.lines, "192.0.2.1 offered 192.0.2.50 and is silent now") {
		t.Error(p.lines)
	}
}

// Silence is spoken of more and more rarely, and questions are repeated with a growing delay that has a bound.
func TestSilenceIsToldAndBorne(t *testing.T) {
	p := newPlay(t)
	sent, last := 0, time.Duration(0)
	for p.now < time.Hour {
		p.sends(dhcpv4.MessageTypeDiscover)
		sent++
		last, p.now = p.now, p.next
	}
	if gap := p.now - last; gap < lastWait*3/4 || gap > lastWait*5/4 {
		t.Errorf("the last delay is %v", gap)
	}
	if n := strings.Count(p.lines, "no answer from any DHCP server"); sent < 220 || sent > 300 || n < 20 || n > 70 {
		t.Errorf("%d questions, %d lines", sent, n)
	}
}

// What cannot be an answer to this client, and what gives nothing usable, changes nothing.
func TestWrongAnswersAreNotTaken(t *testing.T) {
	you := net.IPv4(192, 0, 2, 50)
	for name, spoil := range map[string]func(*dhcpv4.DHCPv4){
		"another's number": func(p *dhcpv4.DHCPv4) { p.TransactionID[0]++ },
		"another's card":   func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = net.HardwareAddr{1, 2, 3, 4, 5, 6} },
		"a question":       func(p *dhcpv4.DHCPv4) { p.OpCode = dhcpv4.OpcodeBootRequest },
		"no address":       func(p *dhcpv4.DHCPv4) { p.YourIPAddr = net.IPv4zero },
		"a group":          func(p *dhcpv4.DHCPv4) { p.YourIPAddr = net.IPv4(224, 0, 0, 1) },
		"no server":        func(p *dhcpv4.DHCPv4) { p.DeleteOption(dhcpv4.OptionServerIdentifier) },
		"a mask with holes": func(p *dhcpv4.DHCPv4) {
			p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionSubnetMask, []byte{255, 0, 255, 0}))
		},
	} {
		p := newPlay(t)
		offer := reply(p.sends(dhcpv4.MessageTypeDiscover).DHCPv4, dhcpv4.MessageTypeOffer, first, you)
		spoil(offer)
		if o := p.step(offer); o.send != nil || p.phase != selecting {
			t.Errorf("%s: taken, sends %v", name, o.send)
		}
	}
}

func TestAllThatAServerGivesIsRead(t *testing.T) {
	p := newPlay(t)
	d := p.sends(dhcpv4.MessageTypeDiscover)
	ack := reply(d.DHCPv4, dhcpv4.MessageTypeAck, first, net.IPv4(192, 0, 2, 50),
		dhcpv4.OptRouter(first), dhcpv4.OptDNS(first, net.IPv4zero, second), dhcpv4.OptHostName("box-7"), dhcpv4.OptDomainName("lab.example."),
		dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{0x23, 0x28}), dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 60}))
	l := fromACK(ack, 5)
	if l.Router.String() != "192.0.2.1" || len(l.DNS) != 2 || l.Hostname != "box-7" || l.Domain != "lab.example" || l.MTU != 9000 || l.Renew != time.Minute || l.Since != 5 {
		t.Errorf("%+v", l)
	}
	if got, want := string(l.resolvConf()), "search lab.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%q", got)
	}
	// Option 121 counts in place of option 3; what a shell could read otherwise is not taken; 0xffffffff is for ever.
	ack.UpdateOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(10, 0, 0, 0), Mask: net.CIDRMask(8, 32)}, Router: second}))
	ack.UpdateOption(dhcpv4.OptHostName("a;reboot"))
	ack.UpdateOption(dhcpv4.OptDomainName("x\nnameserver 6.6.6.6"))
	ack.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionIPAddressLeaseTime, []byte{255, 255, 255, 255}))
	ack.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{0, 68}))
	l = fromACK(ack, 5)
	if l.Router.IsValid() || len(l.Routes) != 1 || l.Hostname != "" || l.Domain != "" || l.Valid != 0 || l.MTU != 0 {
		t.Errorf("%+v", l)
	}
	// Some servers write for ever as the 68 years that a signed number of seconds has.
	ack.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionIPAddressLeaseTime, []byte{127, 255, 255, 255}))
	ack.Options.Del(dhcpv4.OptionRenewTimeValue)
	if long := fromACK(ack, 5); long.Renew < long.Valid/3 || long.Rebind <= long.Renew || long.Rebind >= long.Valid {
		t.Errorf("%+v", long)
	}
	c := newClient(mac, 0, same)
	c.adopt(l, 0)
	if o := c.step(200*24*time.Hour, nil); o.send != nil {
		t.Error("an unlimited lease is renewed")
	}
}

func FuzzClient(f *testing.F) {
	p := &play{client: newClient(mac, 0, same)}
	d := p.client.step(0, nil).send
	f.Add(reply(d.DHCPv4, dhcpv4.MessageTypeOffer, first, net.IPv4(192, 0, 2, 50), dhcpv4.OptHostName("a")).ToBytes(), uint8(0))
	f.Add(reply(d.DHCPv4, dhcpv4.MessageTypeAck, first, net.IPv4(192, 0, 2, 50)).ToBytes(), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, seconds uint8) {
		if body, ok := payload(datagram(netip.MustParseAddr("192.0.2.1"), everybody, b)); ok {
			t.Errorf("a packet to port 67 is taken as one to port 68: %x", body)
		}
		_, _ = payload(b)
		in, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		c := newClient(mac, 0, same)
		c.step(0, nil)
		for i := range 4 {
			at := time.Duration(i) * time.Duration(seconds) * time.Second
			o := c.step(at, in)
			if l := o.got; l != nil {
				if !l.Address.IsValid() || l.Valid < 0 || l.Renew < 0 || l.Renew > l.Valid || l.Rebind > l.Valid || strings.ContainsAny(l.Hostname+l.Domain+strings.Join(l.Search, ""), " \n'\"$`;") ||
					len(l.DNS) > mostServers || len(l.Routes) > mostRoutes {
					t.Errorf("%+v", *l)
				}
			}
			if c.next <= at && c.phase != bound {
				t.Errorf("the next step is due at %v, now is %v", c.next, at)
			}
		}
	})
}

// A server that offers what it then refuses is asked again and again, not without a pause, and the address is kept.
func TestAServerThatOffersAndRefusesIsNotAskedWithoutPause(t *testing.T) {
	p := newPlay(t)
	p.getLease()
	r := p.sends(dhcpv4.MessageTypeRequest) // to renew
	o := p.step(reply(r.DHCPv4, dhcpv4.MessageTypeNak, first, net.IPv4zero))
	begin, refusals := p.now, 0
	for p.now < begin+time.Minute && refusals < 1000 {
		for o.send != nil {
			if o.send.MessageType() == dhcpv4.MessageTypeDiscover {
				o = p.step(reply(o.send.DHCPv4, dhcpv4.MessageTypeOffer, first, net.IPv4(192, 0, 2, 70)))
				continue
			}
			refusals++
			o = p.step(reply(o.send.DHCPv4, dhcpv4.MessageTypeNak, first, net.IPv4zero))
			if refusals >= 1000 {
				break
			}
		}
		p.now = max(p.now, p.next)
		o = p.step(nil)
	}
	if refusals < 10 || refusals > 150 || !p.lease.Address.IsValid() {
		t.Errorf("refused %d times in %v, keeps %v", refusals, p.now-begin, p.lease.Address)
	}
}

// What another server says of an address that is not its own counts for nothing: the disk is behind it.
func TestAnotherServersRefusalDoesNotTakeALease(t *testing.T) {
	p := newPlay(t)
	l := p.getLease()
	r := p.sends(dhcpv4.MessageTypeRequest)
	if o := p.step(reply(r.DHCPv4, dhcpv4.MessageTypeNak, second, net.IPv4zero)); o.send != nil || p.phase != renewing {
		t.Fatalf("renewing, and another server refuses: %v in phase %d", o.send, p.phase)
	}
	for p.phase != rebinding {
		p.now = p.next
		r = p.step(nil).send
	}
	if p.step(reply(r.DHCPv4, dhcpv4.MessageTypeNak, second, net.IPv4zero)); p.phase != rebinding || p.lease.Valid != l.Valid {
		t.Errorf("rebinding, and another server refuses: phase %d", p.phase)
	}
	if p.step(reply(r.DHCPv4, dhcpv4.MessageTypeNak, first, net.IPv4zero)); p.phase != selecting {
		t.Errorf("its own server refuses: phase %d", p.phase)
	}
}
