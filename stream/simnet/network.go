package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/spate-project/spate/stream/udp"
)

const (
	firstPort = 32768 // of the ports that Listen chooses
	lastPort  = 60999
)

// Network is a set of addresses that reach one another. Create it inside the synctest bubble that uses it.
type Network struct {
	mu      sync.Mutex // guards everything here and in Pipes and Conns, whose methods take it
	random  *rand.Rand
	sockets map[netip.AddrPort][]*conn // loops of one port
	routes  map[direction]*Pipe
	cuts    map[direction]bool
	other   *Pipe // of directions without a route
	filter  Filter
	ports   map[netip.Addr]uint16 // next to choose
	order   uint64                // of datagrams sent
}

// direction is from one address to another; a zero Addr stands for all.
type direction struct{ from, to netip.Addr }

// Filter sees every datagram that a socket sends and says whether it goes on. It must not keep the datagram, may not
// call the Network, and is called by one goroutine at a time.
type Filter func(from, to netip.AddrPort, datagram []byte) bool

// New makes a network whose chances follow from seed. Between addresses without a route it is instant and perfect.
func New(seed uint64) *Network {
	n := &Network{
		random:  rand.New(rand.NewPCG(seed, 0x5ba7e)),
		sockets: map[netip.AddrPort][]*conn{},
		routes:  map[direction]*Pipe{},
		cuts:    map[direction]bool{},
		ports:   map[netip.Addr]uint16{},
	}
	n.other = &Pipe{net: n}
	return n
}

// Pipe makes a pipe for SetRoute.
func (n *Network) Pipe(l Link) *Pipe { return &Pipe{net: n, link: l} }

// Default is the pipe of everything that has no route; all of it shares the one queue.
func (n *Network) Default() *Pipe { return n.other }

// SetRoute sends what goes from one address to another through p. A zero address stands for every address; the route
// that names both wins, then the one that names the sender, then the one that names the receiver.
func (n *Network) SetRoute(from, to netip.Addr, p *Pipe) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.routes[direction{from, to}] = p
}

// Connect gives two addresses a link of their own, alike in both directions, and returns the pipes there and back.
func (n *Network) Connect(a, b netip.Addr, l Link) (there, back *Pipe) {
	there, back = n.Pipe(l), n.Pipe(l)
	n.SetRoute(a, b, there)
	n.SetRoute(b, a, back)
	return there, back
}

// Cut makes everything vanish that is sent from one address to another from now on; a zero address stands for every
// address. Heal ends the same cut.
func (n *Network) Cut(from, to netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[direction{from, to}] = true
}

// Heal ends a Cut with the same arguments.
func (n *Network) Heal(from, to netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, direction{from, to})
}

// SetFilter has f decide about every datagram; nil lets all of them pass.
func (n *Network) SetFilter(f Filter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = f
}

// Inject sends a datagram as if from had sent it, whoever has that address: an attacker, or a replayed recording. It
// passes neither filter nor cuts.
func (n *Network) Inject(from, to netip.AddrPort, datagram []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forwardLocked(n.pipeLocked(from.Addr(), to.Addr()), from, to, datagram)
}

// Listen is udp.Listen on this network. Addresses are concrete: there is no wildcard. Of the options it obeys Loops,
// ReceiveBuffer and Refusals.
func (n *Network) Listen(addr netip.AddrPort, o udp.Options) ([]udp.Conn, error) {
	if !addr.Addr().IsValid() || addr.Addr().IsUnspecified() {
		return nil, fmt.Errorf("simnet listens on one address, not on %v", addr)
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	n.mu.Lock()
	defer n.mu.Unlock()
	if addr.Port() == 0 {
		addr = n.chooseLocked(addr.Addr())
	}
	if len(n.sockets[addr]) > 0 {
		return nil, fmt.Errorf("simnet: %v is taken", addr)
	}
	var conns []udp.Conn
	for range max(1, o.Loops) {
		c := newConn(n, addr, o)
		n.sockets[addr] = append(n.sockets[addr], c)
		conns = append(conns, c)
	}
	return conns, nil
}

func (n *Network) chooseLocked(ip netip.Addr) netip.AddrPort {
	for {
		port := max(n.ports[ip], firstPort)
		n.ports[ip] = port + 1
		if port == lastPort {
			n.ports[ip] = firstPort
		}
		if a := netip.AddrPortFrom(ip, port); len(n.sockets[a]) == 0 {
			return a
		}
	}
}

func (n *Network) pipeLocked(from, to netip.Addr) *Pipe {
	for _, d := range [...]direction{{from, to}, {from, netip.Addr{}}, {netip.Addr{}, to}} {
		if p := n.routes[d]; p != nil {
			return p
		}
	}
	return n.other
}

func (n *Network) cutLocked(from, to netip.Addr) bool {
	return len(n.cuts) > 0 &&
		(n.cuts[direction{from, to}] || n.cuts[direction{from: from}] || n.cuts[direction{to: to}])
}

// forwardLocked carries one datagram to whoever listens on to.
func (n *Network) forwardLocked(p *Pipe, from, to netip.AddrPort, datagram []byte) {
	now := time.Now()
	due, copies := p.carryLocked(len(datagram), now)
	for _, at := range due[:copies] {
		n.order++
		if c := n.socketLocked(from, to); c != nil {
			c.arriveLocked(arrival{due: at, order: n.order, from: from, data: append([]byte(nil), datagram...)}, now)
		} else if c := n.socketLocked(to, from); c != nil && c.refusals {
			back := n.pipeLocked(to.Addr(), from.Addr()).link.Delay
			c.arriveLocked(arrival{due: at.Add(back), order: n.order, from: to, refused: true}, now)
		}
	}
}

// socketLocked is the loop at to that serves from, as SO_REUSEPORT chooses it: always the same one.
func (n *Network) socketLocked(from, to netip.AddrPort) *conn {
	loops := n.sockets[to]
	if len(loops) < 2 {
		if len(loops) == 0 {
			return nil
		}
		return loops[0]
	}
	a := from.Addr().As16()
	hash := uint32(2166136261)
	for _, b := range append(a[:], byte(from.Port()), byte(from.Port()>>8)) {
		hash = (hash ^ uint32(b)) * 16777619
	}
	return loops[int(hash>>8)%len(loops)]
}

func (n *Network) closeLocked(c *conn) {
	loops := n.sockets[c.local]
	for i, other := range loops {
		if other == c {
			n.sockets[c.local] = append(loops[:i:i], loops[i+1:]...)
		}
	}
	if len(n.sockets[c.local]) == 0 {
		delete(n.sockets, c.local)
	}
}
