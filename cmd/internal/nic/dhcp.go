package nic

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// phase is a state of RFC 2131 figure 5. INIT is selecting with nothing sent yet; INIT-REBOOT is not used.
type phase int

const (
	selecting  phase = iota // a server is looked for
	requesting              // its offer is asked for
	bound                   // nothing to do until T1
	renewing                // its server is asked
	rebinding               // every server is asked
)

// client is the DHCP client of one card: a value that is stepped. Its lease outlives its time: when no server answers, or one
// says no, the address is kept until there is another one.
type client struct {
	mac    net.HardwareAddr
	chance func() uint32

	phase   phase
	lease   Lease // zero until the first one
	offer   *dhcpv4.DHCPv4
	xid     dhcpv4.TransactionID
	sent    int           // messages of this phase
	began   time.Duration // of this phase
	asked   time.Duration // when the first message of this exchange left
	next    time.Duration // when the next step is due
	silence time.Duration // since when nobody has answered
	said    time.Duration // when silence was last spoken of
	expired bool
}

// message goes to a server, or to all of them when To is not valid.
type message struct {
	*dhcpv4.DHCPv4
	To netip.Addr
}

// outcome is what a step leads to.
type outcome struct {
	send  *message
	got   *Lease // the first lease, another one or its renewal
	lines []string
}

func newClient(mac net.HardwareAddr, now time.Duration, chance func() uint32) *client {
	c := &client{mac: mac, chance: chance}
	c.enter(selecting, now)
	c.silence, c.said = now, now
	return c
}

// adopt goes on with a lease.
func (c *client) adopt(l Lease, now time.Duration) {
	c.lease = l
	c.rest(now)
}

func (c *client) enter(p phase, now time.Duration) {
	if p == selecting || p == renewing {
		c.asked, c.silence, c.said = now, now, now
	}
	n := c.chance()
	if p != requesting { // an offer is asked for under its own number
		c.xid = dhcpv4.TransactionID{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	}
	c.phase, c.sent, c.began, c.next = p, 0, now, now
}

// rest waits for T1, or until the server is asked for what the boot loader has got.
func (c *client) rest(now time.Duration) {
	c.phase, c.sent, c.began, c.offer, c.expired = bound, 0, now, nil, false
	switch {
	case c.lease.Unconfirmed: // not all machines of a fleet at once
		c.next = now + confirmAfter + confirmAfter*time.Duration(c.chance()%256)/256
	case c.lease.Valid == 0:
		c.next = now + 365*24*time.Hour
	default:
		c.next = c.lease.Since + c.lease.Renew
	}
}

// listening tells whether answers are waited for.
func (c *client) listening() bool { return c.phase != bound }

// step takes a packet, or nil when only time has passed.
func (c *client) step(now time.Duration, p *dhcpv4.DHCPv4) (o outcome) {
	if p != nil {
		c.take(now, p, &o)
	}
	if now >= c.next {
		c.tick(now, &o)
	}
	return o
}

func (c *client) take(now time.Duration, p *dhcpv4.DHCPv4, o *outcome) {
	if p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != c.xid || !bytes.Equal(p.ClientHWAddr, c.mac) {
		return
	}
	kind := p.MessageType()
	from := address(p.ServerIdentifier())
	switch {
	case kind == dhcpv4.MessageTypeNak && from.IsValid() && from == c.asks():
		o.say("DHCP server %s refuses %s%s; asking for another address", from, c.wanted(), because(p))
		offered := c.phase == requesting
		c.enter(selecting, now)
		if offered { // what the server offered: it may do that for ever
			c.next = now + firstWait
		}
		if c.lease.Address.IsValid() {
			c.lease.Valid, c.expired = 0, true // never asked for again; kept until there is another one
		}
	case kind == dhcpv4.MessageTypeOffer && c.phase == selecting, kind == dhcpv4.MessageTypeAck && c.phase > requesting,
		kind == dhcpv4.MessageTypeAck && c.phase == requesting && from == address(c.offer.ServerIdentifier()):
		if bad := usable(p); bad != "" {
			o.say("the answer of DHCP server %s is not used: it %s", from, bad)
			return
		}
		if kind == dhcpv4.MessageTypeOffer {
			c.offer = p
			c.enter(requesting, now)
			return
		}
		l := fromACK(p, c.asked)
		c.lease = l
		c.rest(now)
		o.got = &l
	}
}

// asks is the server whose refusal counts: the one that has offered or leased the address. Others may be asked to renew it, but
// one that knows nothing of the lease, and says no to all that it does not know, must not take the disk away.
func (c *client) asks() netip.Addr {
	switch c.phase {
	case requesting:
		return address(c.offer.ServerIdentifier())
	case renewing, rebinding:
		return c.lease.Server
	}
	return netip.Addr{}
}

// wanted is the address that is asked for.
func (c *client) wanted() string {
	if c.phase == requesting {
		return c.offer.YourIPAddr.String()
	}
	return c.lease.Address.Addr().String()
}

func because(p *dhcpv4.DHCPv4) string {
	if m := p.Message(); m != "" {
		return fmt.Sprintf(" (%.100q)", m)
	}
	return ""
}

func (o *outcome) say(format string, args ...any) {
	o.lines = append(o.lines, fmt.Sprintf(format, args...))
}

// tick does what is due.
func (c *client) tick(now time.Duration, o *outcome) {
	l := c.lease
	switch {
	case c.phase == bound:
		c.enter(renewing, now)
	case c.phase == requesting && c.sent >= requests:
		o.say("DHCP server %s offered %s and is silent now; looking for another server", address(c.offer.ServerIdentifier()), c.offer.YourIPAddr)
		c.enter(selecting, now)
	}
	if c.phase == renewing && (now >= l.Since+l.Rebind || l.Unconfirmed && c.sent >= requests) {
		c.enter(rebinding, now)
	}
	if c.phase == rebinding && now >= l.expires() {
		why := ""
		if c.sent > 0 { // else nobody was asked: the machine slept, or the system looked after the address until now
			why = " and no DHCP server answers"
		}
		o.say("the lease of %s has run out%s: the address is kept, because the disk is behind it", l.Address.Addr(), why)
		c.enter(selecting, now)
		c.expired = true
	}
	o.send = c.message(now)
	c.sent++
	c.next = now + c.wait(now)
	if p := c.patience(); !c.expired && c.phase <= requesting && now-c.said >= p {
		o.say("no answer from any DHCP server for %d s", int((now - c.silence).Round(time.Second).Seconds()))
		c.said = now
	}
}

// patience is the time until silence is spoken of again.
func (c *client) patience() time.Duration { return min(max(c.said-c.silence, sayAfter), sayMost) }

// wait is the time until the message just sent is repeated.
func (c *client) wait(now time.Duration) time.Duration {
	l := c.lease
	switch known := c.phase == renewing || c.phase == rebinding; {
	case known && l.Unconfirmed && c.sent > requests:
		return renewWait
	case known && !l.Unconfirmed:
		end := l.expires()
		if c.phase == renewing {
			end = l.Since + l.Rebind
		}
		return max(min(max((end-now)/2, renewWait), end-now), time.Second/2)
	}
	w := min(firstWait<<min(c.sent-1, 10), lastWait)
	return w*7/8 + w*time.Duration(c.chance()%256)/1024 // a fleet that starts at once does not ask at once again
}

// message makes the message of the phase.
func (c *client) message(now time.Duration) *message {
	secs := uint16(min((now-c.asked)/time.Second, 1<<16-1))
	kind := dhcpv4.MessageTypeRequest
	if c.phase == selecting {
		kind = dhcpv4.MessageTypeDiscover
	}
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: c.mac, TransactionID: c.xid, NumSeconds: secs, Options: dhcpv4.Options{},
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
	}
	m := &message{DHCPv4: p}
	p.UpdateOption(dhcpv4.OptMessageType(kind))
	p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, append([]byte{1}, c.mac...)))
	p.UpdateOption(dhcpv4.OptMaxMessageSize(1472))
	p.UpdateOption(dhcpv4.OptParameterRequestList(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName,
		dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue, dhcpv4.OptionDNSDomainSearchList))
	switch c.phase {
	case selecting:
		if c.lease.Address.IsValid() && c.lease.Valid != 0 {
			p.UpdateOption(dhcpv4.OptRequestedIPAddress(c.lease.Address.Addr().AsSlice()))
		}
	case requesting:
		p.UpdateOption(dhcpv4.OptServerIdentifier(c.offer.ServerIdentifier()))
		p.UpdateOption(dhcpv4.OptRequestedIPAddress(c.offer.YourIPAddr))
	case renewing, rebinding:
		p.ClientIPAddr = c.lease.Address.Addr().AsSlice()
		if c.phase == renewing {
			m.To = c.lease.Server
		}
	}
	return m
}
