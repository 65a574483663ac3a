package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
)

const (
	portServer = 67
	portClient = 68
	portBoot   = 4011
	// maxOffers bounds what is collected, maxFrame is the largest frame that is read.
	maxOffers = 256
	maxFrame  = 2048
	// asks is how often is asked within the time.
	asks = 2
	// nextAnswer is how long the next answer of a server may take that has answered one kind: dnsmasq pings each address for 3 s
	// before it offers it, one after the other.
	nextAnswer = 4 * time.Second
)

// Options are those of Ask.
type Options struct {
	// Interface is the card to ask on.
	Interface string
	// Wait is how long answers are waited for. A server that has answered some kinds by then is waited for longer, as long as
	// it goes on to answer.
	Wait time.Duration
	// Kinds are what to ask as.
	Kinds []Kind
}

// asking is one run of Ask. It belongs to one goroutine.
type asking struct {
	o      Options
	udp    *link.Conn
	own    netip.Addr // of the interface; not valid when it has none
	asked  map[[4]byte]*identity
	offers []Offer
}

// identity is what the asker calls itself as one kind.
type identity struct {
	kind   Kind
	mac    bootsvc.MAC
	xid    [4]byte
	booted map[netip.Addr]bool // asked at port 4011
}

// Ask asks on an interface, waits for the whole time, and gives the answers in the order in which they came; each once. It needs
// root or CAP_NET_RAW and CAP_NET_BIND_SERVICE. When ctx ends it gives its error.
func Ask(ctx context.Context, o Options) ([]Offer, error) {
	raw, err := link.Listen(o.Interface)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	// The question goes out as firmware sends it, from 0.0.0.0. A server on this very machine hears it only from an ordinary
	// socket; what that one answers by a packet socket of its own is seen by ours.
	udp, err := link.ListenUDP(o.Interface, portClient, true)
	if err != nil {
		return nil, err
	}
	defer udp.Close()
	a := asking{o: o, udp: udp, asked: map[[4]byte]*identity{}}
	if a.own, err = ownAddress(o.Interface); err != nil {
		return nil, err
	}
	for _, k := range o.Kinds {
		id := &identity{kind: k, booted: map[netip.Addr]bool{}}
		rand.Read(id.mac[:]) // never fails
		rand.Read(id.xid[:])
		id.mac[0] = id.mac[0]&^1 | 2 // one card, administered locally
		a.asked[id.xid] = id
	}
	start := time.Now()
	for turn := range asks {
		if err := a.send(raw); err != nil {
			return nil, fmt.Errorf("ask on %s: %w", o.Interface, err)
		}
		until := start.Add(o.Wait * time.Duration(turn+1) / asks)
		if err := a.collect(ctx, raw, until, func() bool { return false }); err != nil {
			return nil, err
		}
	}
	for before := -1; a.unanswered() && len(a.offers) > before; {
		before = len(a.offers)
		if err := a.collect(ctx, raw, time.Now().Add(min(nextAnswer, o.Wait)), func() bool { return len(a.offers) > before }); err != nil {
			return nil, err
		}
	}
	return a.offers, nil
}

func ownAddress(iface string) (netip.Addr, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: %w", iface, err)
	}
	if i.Flags&net.FlagUp == 0 {
		return netip.Addr{}, fmt.Errorf("interface %s is down; bring it up with: ip link set %s up", iface, iface)
	}
	all, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: %w", iface, err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return netip.AddrFrom4([4]byte(n.IP.To4())), nil
		}
	}
	return netip.Addr{}, nil
}

func (a *asking) send(raw *link.Socket) error {
	everybody := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), portServer)
	for _, id := range a.asked {
		question := id.kind.Discover(id.mac, id.xid).ToBytes()
		err := raw.Write(link.Datagram{
			SrcMAC: raw.MAC(), DstMAC: link.Broadcast, Src: netip.AddrPortFrom(netip.IPv4Unspecified(), portClient), Dst: everybody, Payload: question,
		}.Append(nil))
		if err == nil && a.own.IsValid() {
			_, err = a.udp.WriteToUDPAddrPort(question, everybody)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unanswered tells whether a server has answered some of the kinds and not all.
func (a *asking) unanswered() bool {
	answered := map[netip.Addr]map[Kind]bool{}
	for _, o := range a.offers {
		if answered[o.Server] == nil {
			answered[o.Server] = map[Kind]bool{}
		}
		answered[o.Server][o.Kind] = true
	}
	for _, kinds := range answered {
		if len(kinds) < len(a.o.Kinds) {
			return true
		}
	}
	return false
}

// collect reads answers until a time, or until it is enough.
func (a *asking) collect(ctx context.Context, raw *link.Socket, until time.Time, enough func() bool) error {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetReadDeadline(time.Unix(1, 0)) }) // ends the read below
	defer stop()
	if err := raw.SetReadDeadline(until); err != nil {
		return err
	}
	b := make([]byte, maxFrame)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := raw.Read(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("listen on %s: %w", a.o.Interface, err)
		}
		if d, ok := link.ParseDatagram(b[:n]); ok {
			a.take(d)
		}
		if enough() {
			return nil
		}
	}
}

func (a *asking) take(d link.Datagram) {
	o, xid, ok := parseOffer(0, d.Src.Addr(), d.Payload)
	id := a.asked[xid]
	if !ok || id == nil || len(a.offers) >= maxOffers {
		return
	}
	o.Kind = id.kind
	for _, old := range a.offers {
		if old == o {
			return
		}
	}
	a.offers = append(a.offers, o)
	if o.Boot || o.Address.IsValid() || o.Class != "PXEClient" || !a.own.IsValid() || id.booted[o.Server] || id.kind == UEFIHTTP || id.kind == IPXE {
		return
	}
	// A proxyDHCP server: it may tell the file only at port 4011. Whether it hears us shows in its answer.
	id.booted[o.Server] = true
	_, _ = a.udp.WriteToUDPAddrPort(id.kind.bootRequest(id.mac, xid, a.own).ToBytes(), netip.AddrPortFrom(o.Server, portBoot))
}
