package dhcp

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
	"github.com/spate-project/spate/bootsvc/probe"
)

var seedFlag = flag.Uint64("seed", 0, "replay the storm of this seed alone")

// storm is a network with machines and servers, stepped by a queue of events.
type storm struct {
	t        *testing.T
	rnd      *rand.Rand
	now      time.Time
	queue    queue
	order    int
	servers  []*simServer
	machines map[bootsvc.MAC]*machine
	holder   map[netip.Addr]*machine
	busy     int // machines that have no address and have not given up
	loss     float64
	broken   bool
}

type simServer struct {
	*core
	dir  *fakeDirectory
	dead bool
	wake time.Time // when it is served next; not after now when nobody has asked for that
}

type fakeDirectory struct {
	bootsvc.Directory
	farm   bootsvc.Farm
	entry  func(bootsvc.Client) bootsvc.Entry
	events []bootsvc.Event
}

func (d *fakeDirectory) Boot(c bootsvc.Client) bootsvc.Entry {
	if d.entry == nil {
		return bootsvc.Entry{}
	}
	return d.entry(c)
}
func (d *fakeDirectory) Farm() bootsvc.Farm   { return d.farm }
func (d *fakeDirectory) Note(e bootsvc.Event) { d.events = append(d.events, e) }

// machine is firmware that wants an address. retries are PXE's (PXE 2.1 section 2.2.4), and EDK2's.
type machine struct {
	mac     bootsvc.MAC
	xid     [4]byte
	offers  []*dhcpv4.DHCPv4
	chosen  *dhcpv4.DHCPv4
	addr    netip.Addr
	tries   int
	rounds  int
	settled bool
}

var retries = []time.Duration{4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second}

type simEvent struct {
	at    time.Time
	order int
	do    func()
}

type queue []simEvent

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (s *storm) after(d time.Duration, do func()) {
	s.order++
	heap.Push(&s.queue, simEvent{s.now.Add(d), s.order, do})
}

func newStorm(t *testing.T, seed uint64, machines int, last string) *storm {
	s := &storm{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: start, machines: map[bootsvc.MAC]*machine{}, holder: map[netip.Addr]*machine{}, busy: machines, loss: 0.02,
	}
	for i := range 2 {
		c := Config{
			Mode: ModeServer, Interface: "test0", Addr: at(fmt.Sprintf("10.1.0.%d", i+1)), Share: Share{i, 2},
			Subnets: []Subnet{{Network: netip.MustParsePrefix("10.1.0.0/16"), Pools: []Range{{at("10.1.1.0"), at(last)}}, Lease: time.Hour}},
		}
		c.Server = bootsvc.Server{Addr: c.Addr, HTTP: 6980}
		if err := c.check(); err != nil {
			t.Fatal(err)
		}
		d := &fakeDirectory{farm: bootsvc.Farm{Servers: []bootsvc.Server{{Addr: at("10.1.0.1")}, {Addr: at("10.1.0.2")}}}}
		v := &simServer{core: newCore(c, d, func(lease) {}), dir: d}
		s.servers = append(s.servers, v)
		s.serve(v) // it asks ahead
	}
	for i := range machines {
		m := &machine{mac: macOf(i)}
		s.machines[m.mac] = m
		s.after(time.Duration(s.rnd.Int64N(int64(time.Second))), func() { s.discover(m) })
	}
	return s
}

// broadcast brings a packet to each server that lives, or loses it.
func (s *storm) broadcast(p *dhcpv4.DHCPv4) {
	b := p.ToBytes()
	for _, v := range s.servers {
		if s.rnd.Float64() < s.loss {
			continue
		}
		s.after(time.Duration(s.rnd.Int64N(int64(5*time.Millisecond))), func() {
			if !v.dead {
				v.receive(s.now, packet{bytes: b, broadcast: true})
				s.serve(v)
			}
		})
	}
}

// serve lets a server do what is due, and carries out what it wants.
func (s *storm) serve(v *simServer) {
	if v.dead {
		return
	}
	next := v.tick(s.now)
	if len(v.pending) > maxPending || len(v.ahead.looks) > aheadMost {
		s.broken = true
		s.t.Errorf("%d offers wait, %d addresses are asked for ahead", len(v.pending), len(v.ahead.looks))
	}
	for _, a := range v.questions {
		if m := s.holder[a]; m != nil && s.rnd.Float64() >= s.loss/10 { // several machines hear it, few frames are lost
			s.after(time.Millisecond, func() {
				if !v.dead {
					v.heard(s.now, link.Claim{MAC: m.mac, Addr: a})
					s.serve(v)
				}
			})
		}
	}
	for _, o := range v.out {
		p, err := dhcpv4.FromBytes(o.bytes)
		if err != nil {
			s.t.Fatal(err)
		}
		if m := s.machines[bootsvc.MAC(p.ClientHWAddr)]; s.rnd.Float64() >= s.loss {
			s.after(time.Duration(s.rnd.Int64N(int64(5*time.Millisecond))), func() { s.hear(m, p) })
		}
	}
	v.questions, v.out = nil, nil
	if !v.wake.After(s.now) || next.Before(v.wake) {
		v.wake = next
		s.after(next.Sub(s.now), func() { s.serve(v) })
	}
}

func (s *storm) discover(m *machine) {
	if m.settled {
		return
	}
	if m.tries == len(retries) { // the firmware gives up; the machine is reset
		m.tries, m.rounds = 0, m.rounds+1
	}
	if m.rounds == 3 {
		s.busy--
		return
	}
	for i := range m.xid {
		m.xid[i] = byte(s.rnd.Uint32())
	}
	m.offers, m.chosen = nil, nil
	s.broadcast(probe.UEFI.Discover(m.mac, m.xid))
	wait := retries[m.tries] + time.Duration(s.rnd.Int64N(int64(time.Second)))
	m.tries++
	s.after(wait, func() { s.choose(m) })
}

// choose takes one of the offers, whichever.
func (s *storm) choose(m *machine) {
	if len(m.offers) == 0 {
		s.discover(m)
		return
	}
	m.chosen = m.offers[s.rnd.IntN(len(m.offers))]
	r := probe.UEFI.Discover(m.mac, m.xid)
	r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
	r.UpdateOption(dhcpv4.OptRequestedIPAddress(m.chosen.YourIPAddr))
	r.UpdateOption(dhcpv4.OptServerIdentifier(m.chosen.ServerIdentifier()))
	s.broadcast(r)
	chosen := m.chosen
	s.after(4*time.Second, func() {
		if m.chosen == chosen {
			s.discover(m)
		}
	})
}

func (s *storm) hear(m *machine, p *dhcpv4.DHCPv4) {
	switch {
	case m.settled || p.TransactionID != m.xid:
	case p.MessageType() == dhcpv4.MessageTypeOffer:
		m.offers = append(m.offers, p)
	case p.MessageType() == dhcpv4.MessageTypeAck && m.chosen != nil:
		a := ip(p.YourIPAddr)
		if o := s.holder[a]; o != nil {
			s.broken = true
			s.t.Errorf("%s is given to %s and to %s", a, o.mac, m.mac)
		}
		s.holder[a] = m
		m.addr, m.settled = a, true
		s.busy--
	}
}

// run steps until each machine has an address or has given up, and gives how many machines have an address.
func (s *storm) run() (settled int) {
	for s.busy > 0 && !s.broken {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		e.do()
	}
	for _, m := range s.machines {
		if m.settled {
			settled++
		}
	}
	return settled
}

func seeds() []uint64 {
	if *seedFlag != 0 {
		return []uint64{*seedFlag}
	}
	return []uint64{1, 2, 3}
}

// A thousand machines are powered on in the same second.
func TestAThousandMachinesAtOnceAllGetAnAddressAndNoneTwice(t *testing.T) {
	for _, seed := range seeds() {
		s := newStorm(t, seed, 1000, "10.1.9.255")
		if n := s.run(); n != 1000 {
			t.Errorf("seed %d: %d of 1000 machines have an address", seed, n)
		}
		if took := s.now.Sub(start); took > 2*time.Minute {
			t.Errorf("seed %d: the last one needed %v", seed, took)
		}
	}
}

// One server dies in the middle of it, with offers out and leases given, and comes back with nothing but what it had stored.
func TestAServerThatDiesInTheStormCostsNobodyAnAddress(t *testing.T) {
	for _, seed := range seeds() {
		s := newStorm(t, seed, 1000, "10.1.9.255")
		victim := s.servers[s.rnd.IntN(2)]
		s.after(time.Duration(s.rnd.Int64N(int64(6*time.Second))), func() { victim.dead = true })
		s.after(30*time.Second, func() {
			stored := victim.leases.all()
			victim.core, victim.dead = newCore(victim.cfg, victim.dir, func(lease) {}), false
			victim.leases.restore(stored)
			s.serve(victim)
		})
		if n := s.run(); n != 1000 {
			t.Errorf("seed %d: %d of 1000 machines have an address", seed, n)
		}
	}
}

func TestMachinesThatGetNoAddressFromAFullPoolAreToldAboutEachWithAReason(t *testing.T) {
	for _, seed := range seeds() {
		s := newStorm(t, seed, 1000, "10.1.2.255") // 512 addresses
		// A lost ACK costs an address for as long as a lease: its machine has another one, which the server did not hear.
		if n := s.run(); n < 505 || n > 512 {
			t.Errorf("seed %d: %d machines have one of 512 addresses", seed, n)
		}
		reasons := map[bootsvc.MAC]int{}
		for _, v := range s.servers {
			for _, e := range v.dir.events {
				if e.Problem && strings.Contains(e.Text, "the pool of 10.1.0.0/16 is used up: of 256 addresses that are this server's share") {
					reasons[e.MAC]++
				}
			}
		}
		for _, m := range s.machines {
			if !m.settled && reasons[m.mac] == 0 {
				t.Errorf("seed %d: nobody says why %s has no address", seed, m.mac)
			}
		}
	}
}
