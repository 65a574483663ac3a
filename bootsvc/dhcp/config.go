package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

// Mode says what the service is on its network.
type Mode int

// The modes.
const (
	// ModeServer gives addresses and boot files.
	ModeServer Mode = iota + 1
	// ModeProxy gives boot files beside another DHCP server, which gives the addresses.
	ModeProxy
)

// String names it as the farm file does.
func (m Mode) String() string {
	switch m {
	case ModeServer:
		return "server"
	case ModeProxy:
		return "proxy"
	default:
		return fmt.Sprintf("mode %d", int(m))
	}
}

// Range is a run of addresses, both ends included.
type Range struct{ First, Last netip.Addr }

// String writes it as 192.0.2.50-192.0.2.99.
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// size is how many addresses it has; at most 2^32.
func (r Range) size() uint64 { return uint64(number(r.Last)) - uint64(number(r.First)) + 1 }

func (r Range) contains(a netip.Addr) bool {
	return a.Is4() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// number is an IPv4 address as a number.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// Subnet is a network whose machines get addresses: the one of the interface, or one behind a relay agent.
type Subnet struct {
	Network netip.Prefix
	// Pools are for machines without a reservation; none means that only reservations are given.
	Pools []Range
	// Router, DNS and Domain are told to machines as they are; they may be missing.
	Router netip.Addr
	DNS    []netip.Addr
	Domain string
	// Lease is how long an address is given; 0 means 8 hours.
	Lease time.Duration
}

// Share is a server's part of the pools: server Index (from 0) of Of servers. The zero value is all of it.
type Share struct{ Index, Of int }

func (s Share) owns(a netip.Addr) bool { return s.Of < 2 || number(a)%uint32(s.Of) == uint32(s.Index) }

// Config is that of a Service.
type Config struct {
	Mode Mode
	// Interface is the network card, or bridge, on which machines are; Addr this server's address on it.
	Interface string
	Addr      netip.Addr
	// Server is what machines load files from; its Addr is usually the one above.
	Server bootsvc.Server
	// Subnets are used in server mode only. At least one must be the network of Addr.
	Subnets []Subnet
	Share   Share
	// Reserved lists the addresses that are reserved for devices, whichever they are, so that no pool gives them to
	// somebody else. It is called for each packet about an address, and now and then without one, and must not wait. Nil means none.
	Reserved func() []netip.Addr
	// LeaseFile keeps the leases over a restart. Empty: they are forgotten.
	LeaseFile string
	// Force serves although another DHCP server answers on the network.
	Force bool
}

// check gives an error for what cannot be meant, and fills in what is left out.
func (c *Config) check() error {
	switch {
	case c.Mode != ModeServer && c.Mode != ModeProxy:
		return fmt.Errorf("dhcp: %s is neither server nor proxy", c.Mode)
	case c.Interface == "":
		return errors.New("dhcp: no interface is named; name the card that the machines are connected to")
	case !c.Addr.Is4() || c.Addr.IsUnspecified() || c.Addr.IsMulticast():
		return fmt.Errorf("dhcp: %s is not an IPv4 address of this server", c.Addr)
	case c.Share.Of < 0 || c.Share.Of > maxShares || c.Share.Index < 0 || c.Share.Index > 0 && c.Share.Index >= c.Share.Of:
		return fmt.Errorf("dhcp: share %d of %d does not exist", c.Share.Index, c.Share.Of)
	case c.Mode == ModeProxy:
		return nil
	case len(c.Subnets) == 0:
		return errors.New("dhcp: no subnet is configured, so there is no address to give; configure the network of this server's interface, or mode proxy beside another DHCP server")
	case len(c.Subnets) > maxSubnets:
		return fmt.Errorf("dhcp: %d subnets; at most %d can be served", len(c.Subnets), maxSubnets)
	}
	if c.Reserved == nil {
		c.Reserved = func() []netip.Addr { return nil }
	}
	subnets, total := make([]Subnet, len(c.Subnets)), uint64(0)
	for i, s := range c.Subnets {
		if err := s.check(); err != nil {
			return fmt.Errorf("dhcp: subnet %s: %w", s.Network, err)
		}
		for _, o := range subnets[:i] {
			if o.Network.Overlaps(s.Network) {
				return fmt.Errorf("dhcp: subnets %s and %s overlap", o.Network, s.Network)
			}
		}
		for _, p := range s.Pools {
			total += p.size()
		}
		subnets[i] = s
	}
	c.Subnets = subnets
	if total > maxPool {
		return fmt.Errorf("dhcp: the pools have %d addresses; at most %d can be served", total, maxPool)
	}
	return nil
}

func (s *Subnet) check() error {
	if !s.Network.IsValid() || !s.Network.Addr().Is4() || s.Network.Bits() < 8 || s.Network.Bits() > 30 {
		return errors.New("not an IPv4 network of /8 to /30; write it as 192.0.2.0/24")
	}
	s.Network = s.Network.Masked()
	if s.Lease == 0 {
		s.Lease = leaseUsual
	}
	if s.Lease < leaseLeast || s.Lease > leaseMost {
		return fmt.Errorf("lease %v is not between %v and %v", s.Lease, leaseLeast, leaseMost)
	}
	for i, p := range s.Pools {
		if !s.Network.Contains(p.First) || !s.Network.Contains(p.Last) || p.First.Compare(p.Last) > 0 {
			return fmt.Errorf("pool %s is not a run of addresses of this network", p)
		}
		for _, o := range s.Pools[:i] {
			if o.contains(p.First) || p.contains(o.First) {
				return fmt.Errorf("pools %s and %s overlap", o, p)
			}
		}
	}
	if s.Router.IsValid() && !s.Network.Contains(s.Router) {
		return fmt.Errorf("router %s is not in it", s.Router)
	}
	for _, d := range s.DNS {
		if !d.Is4() {
			return fmt.Errorf("DNS server %s is not an IPv4 address", d)
		}
	}
	if len(s.Domain) > 255 || len(s.DNS) > 16 {
		return errors.New("the domain or the list of DNS servers is too long")
	}
	return nil
}

// broadcast is the last address of the network.
func (s *Subnet) broadcast() netip.Addr {
	return address(number(s.Network.Addr()) | ^uint32(0)>>s.Network.Bits())
}

// usable tells whether a machine can have the address: not the network's own, nor broadcast, router or ours.
func (s *Subnet) usable(a, own netip.Addr) bool {
	return s.Network.Contains(a) && a != s.Network.Addr() && a != s.broadcast() && a != s.Router && a != own
}

func (s *Subnet) pooled(a netip.Addr) bool {
	for _, p := range s.Pools {
		if p.contains(a) {
			return true
		}
	}
	return false
}
