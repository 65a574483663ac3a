package nic

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// port is the DHCP client's door on one card.
type port struct {
	conn  *packet.Conn
	index int
	in    chan *dhcpv4.DHCPv4
}

func openPort(index int) (*port, error) {
	pass, err := filter()
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(&net.Interface{Index: index}, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: pass})
	if err != nil {
		return nil, fmt.Errorf("listen for DHCP: %w", err)
	}
	p := &port{conn: conn, index: index, in: make(chan *dhcpv4.DHCPv4, portQueue)}
	// Ends when the port is closed; nobody waits for it.
	go func() {
		b := make([]byte, mostPacket)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				close(p.in)
				return
			}
			if body, ok := payload(b[:n]); ok {
				if m, err := dhcpv4.FromBytes(body); err == nil {
					select {
					case p.in <- m:
					default:
					}
				}
			}
		}
	}()
	return p, nil
}

// send sends a message from an address, which is invalid while the card has none.
func (p *port) send(m *message, from netip.Addr) error {
	if !from.IsValid() {
		from = netip.IPv4Unspecified()
	}
	body := m.ToBytes()
	if !m.To.IsValid() {
		_, err := p.conn.WriteTo(datagram(from, everybody, body), &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})
		return err
	}
	// The kernel finds the way to the server; the header is ours, because port 68 may be the operating system's client's.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, datagram(from, m.To, body), unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: m.To.As4()})
}

func (l *Link) close() {
	if l.port != nil {
		// Its receiver ends by that. Nobody waits for it: the kernel closes such a socket only when all of its processors have let go of it
		// (packet_release, synchronize_net), which takes some of its clock's ticks.
		go l.port.conn.Close() //nolint:errcheck // nothing is left to be sent
		l.port = nil
	}
}

// turn steps the DHCP client, sends what it wants to be sent, and returns a lease that it got.
func (l *Link) turn(index int, name string, in *dhcpv4.DHCPv4) *Lease {
	o := l.client.step(now(), in)
	for _, s := range o.lines {
		l.line(name + ": " + s)
	}
	if !l.client.listening() || l.port != nil && l.port.index != index {
		l.close()
	}
	if l.client.listening() && l.port == nil {
		p, err := openPort(index)
		if err != nil {
			return o.got // asked again when the client wants to send again
		}
		l.port = p
	}
	if o.send != nil && l.port != nil {
		from := netip.Addr{}
		if ip := address(o.send.ClientIPAddr); ip.IsValid() {
			from = ip
		}
		// What cannot be sent is sent again by the client's clock.
		_ = l.port.send(o.send, from)
	}
	return o.got
}

// receive waits for a packet, or for so long; then it returns nil.
func (l *Link) receive(ctx context.Context, d time.Duration) (*dhcpv4.DHCPv4, error) {
	t := time.NewTimer(max(0, d))
	defer t.Stop()
	var in chan *dhcpv4.DHCPv4
	if l.port != nil {
		in = l.port.in
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
		return nil, nil
	case m, ok := <-in:
		if !ok {
			l.close() // the card is gone or down; the next turn opens another one
		}
		return m, nil
	}
}

// Run renews the lease and repairs the card until ctx ends, whose error it returns. What cannot be done is said and tried
// again. It may be called once.
func (l *Link) Run(ctx context.Context) error {
	defer l.close()
	changed, err := watch(ctx)
	if err != nil {
		l.line(err.Error() + ": looking every few seconds") // changed is nil, and never ready
	}
	k := keeper{lease: l.Lease()}
	r := repair{next: l.quiet, renew: true, index: k.lease.Index, name: k.lease.Name}
	for first := true; ; first = false {
		if !first || l.quiet == 0 {
			r = l.check(&k, err != nil)
		}
		next := r.next
		if l.client != nil && r.renew && r.index != 0 {
			next = min(next, l.client.next)
		} else {
			l.close()
		}
		var in chan *dhcpv4.DHCPv4
		if l.port != nil {
			in = l.port.in
		}
		t := time.NewTimer(min(max(next-now(), 0), clockCheck))
		var packet *dhcpv4.DHCPv4
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-changed:
			// What changes all the time, on a machine that starts hundreds of containers, is not listed all the time.
			if err := sleep(ctx, settle); err != nil {
				t.Stop()
				return err
			}
		case <-t.C:
		case m, ok := <-in:
			if packet = m; !ok {
				l.close()
			}
		}
		t.Stop()
		if l.client != nil && r.renew && r.index != 0 && (packet != nil || now() >= l.client.next) {
			l.renewed(&k, l.turn(r.index, r.name, packet))
		}
	}
}

// check compares the card with what it should be, and repairs it.
func (l *Link) check(k *keeper, blind bool) repair {
	s, err := look()
	if err != nil {
		l.blind.say(err.Error())
		return repair{next: now() + repairAfter, renew: true, index: k.lease.Index, name: k.lease.Name}
	}
	l.blind = patience{line: l.line}
	r := k.step(now(), s)
	for _, line := range r.lines {
		l.line(line)
	}
	if blind {
		r.next = min(r.next, now()+repairAfter)
	}
	l.set(k.lease)
	l.mu.Lock()
	l.way = wayOf(k.lease, s)
	l.mu.Unlock()
	if r.up {
		err = setUp(r.index)
	}
	if r.address {
		err = apply(k.lease, l.resolv)
	}
	if err != nil {
		l.line(err.Error())
	}
	return r
}

// renewed takes a lease that was got while running.
func (l *Link) renewed(k *keeper, got *Lease) {
	if got == nil {
		return
	}
	old := k.lease
	got.Index, got.Name, got.MAC = old.Index, old.Name, old.MAC
	if got.Hostname == "" {
		got.Hostname = old.Hostname
	}
	k.lease = *got
	l.set(k.lease)
	if got.Address == old.Address {
		if !old.Unconfirmed {
			return
		}
		// Boot loaders do not ask for all that we ask for. Names are left alone: the system may have set its own by now.
		if err := applyRoutes(*got); err != nil {
			l.line(err.Error())
		}
		return
	}
	l.line(fmt.Sprintf("%s: the address is %s now, it was %s", got.Name, got.Address, old.Address))
	if err := apply(*got, l.resolv); err != nil {
		l.line(err.Error())
		return
	}
	withdraw(got.Index, old.Address)
	// The routes of the old address went with it.
	if err := apply(*got, l.resolv); err != nil {
		l.line(err.Error())
	}
}
