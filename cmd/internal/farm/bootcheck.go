package farm

import (
	"fmt"
	"net/netip"
	"slices"
)

// checkBoot complains about boot settings that do not fit together. Everything is read.
func (r *reading) checkBoot() {
	b := r.config.Boot
	if b == nil {
		for _, s := range r.boot.settings {
			r.complain(s.at, "%s is about booting, and this farm has no boot services: add a section boot to the farm file", s.what)
		}
		return
	}
	if len(r.boot.servers) == 0 {
		r.complain(r.boot.at, "no server runs the boot services; add boot: {} to at least one server")
	}
	r.checkSubnets()
	r.checkFixed()
	r.checkBootServers()
	r.checkReserved()
	for _, m := range r.boot.menus {
		all := m.offered()
		if w, err := ParseWanted(m.word.text); err == nil && !slices.Contains(all, w) {
			r.complain(m.word.at, "the menu's default %s is not among its vDisks (%s)", w, names(all))
		}
	}
}

// checkSubnets complains about networks and pools that overlap.
func (r *reading) checkSubnets() {
	for i, s := range r.boot.subnets {
		for _, o := range r.boot.subnets[:i] {
			if s.what.Network.Overlaps(o.what.Network) {
				r.complain(s.at, "network %s overlaps %s in line %d", s.what.Network, o.what.Network, o.at.line)
			}
		}
	}
	for i, p := range r.boot.pools {
		for _, o := range r.boot.pools[:i] {
			if p.what.Contains(o.what.First) || o.what.Contains(p.what.First) {
				r.complain(p.at, "pool %s overlaps %s in line %d", p.what, o.what, o.at.line)
			}
		}
	}
	total := 0.0
	for _, p := range r.boot.pools {
		total += p.what.size()
		if total > maxPooled {
			r.complain(p.at, "the pools have more than %d addresses, which is the most that can be given out", maxPooled)
			break
		}
	}
	for _, a := range r.boot.routers {
		if p, ok := r.pooled(a.what); ok {
			r.complain(a.at, "router %s lies in the pool %s, which is given out; leave it out of the pool", a.what, p)
		}
	}
}

// checkFixed complains about addresses of servers that the pools give to machines.
func (r *reading) checkFixed() {
	told := map[fixed]bool{}
	for _, f := range r.boot.fixed {
		if p, ok := r.pooled(f.what.addr); ok && !told[f.what] {
			told[f.what] = true
			r.complain(f.at, "%s has address %s, which lies in the pool %s that is given out; leave it out of the pool", f.what.who, f.what.addr, p)
		}
	}
}

// pooled finds the pool that an address lies in.
func (r *reading) pooled(a netip.Addr) (Range, bool) {
	for _, p := range r.boot.pools {
		if a.IsValid() && p.what.Contains(a) {
			return p.what, true
		}
	}
	return Range{}, false
}

// checkBootServers complains about addresses of servers that somebody else has, too.
func (r *reading) checkBootServers() {
	seen := map[string]place{}
	for _, one := range r.boot.servers {
		s := r.config.Servers[one.what]
		a := s.Boot.Address
		if !a.IsValid() {
			continue
		}
		r.unique(seen, a.String(), word{at: one.at}, "boot address "+a.String())
		if p, ok := r.pooled(a); ok {
			r.complain(one.at, "server %s has address %s, which lies in the pool %s that is given out; leave it out of the pool", s.Name, a, p)
		}
		near := slices.ContainsFunc(r.boot.subnets, func(s placed[Subnet]) bool { return usable(s.what.Network, a) })
		if r.config.Boot.DHCP == DHCPServer && !near && len(r.boot.subnets) > 0 {
			r.complain(one.at, "server %s has address %s, which lies in none of %s; one of them must be the server's own network", s.Name, a, r.networks())
		}
		for _, other := range []struct {
			what string
			addr netip.AddrPort
		}{{"other servers", s.Peer}, {"the admin API", s.Admin}} {
			if other.addr.Addr() == a && other.addr.Port() == r.config.Boot.HTTP {
				at := r.boot.http
				if at == (place{}) {
					at = one.at
				}
				r.complain(at, "port %d of %s is for %s already; give boot.http another one", other.addr.Port(), s.Name, other.what)
			}
		}
	}
}

// checkReserved complains about reserved addresses that cannot be given to their device.
func (r *reading) checkReserved() {
	taken := map[netip.Addr]string{}
	for _, s := range r.config.Servers {
		for _, a := range []netip.Addr{s.Stream.Addr(), s.Peer.Addr(), s.Admin.Addr()} {
			taken[a] = "server " + s.Name
		}
		if s.Boot != nil {
			taken[s.Boot.Address] = "server " + s.Name
		}
	}
	for _, a := range r.boot.routers {
		taken[a.what] = "the router"
	}
	for i, a := range r.boot.reserved {
		if r.config.Boot.DHCP != DHCPServer {
			r.complain(a.at, "addresses are given out with boot.dhcp: server only, and it is %s", r.config.Boot.DHCP)
			continue
		}
		first := slices.IndexFunc(r.boot.reserved[:i], func(b placed[netip.Addr]) bool { return b.what == a.what })
		subnet := slices.IndexFunc(r.boot.subnets, func(s placed[Subnet]) bool { return usable(s.what.Network, a.what) })
		switch {
		case first >= 0:
			r.complain(a.at, "address %s stands in line %d already", a.what, r.boot.reserved[first].at.line)
		case taken[a.what] != "":
			r.complain(a.at, "address %s is that of %s", a.what, taken[a.what])
		case subnet < 0 && len(r.boot.subnets) > 0:
			r.complain(a.at, "address %s is for no machine of %s", a.what, r.networks())
		}
	}
}

func (r *reading) networks() string {
	text := ""
	for i, s := range r.boot.subnets {
		if i > 0 {
			text += ", "
		}
		text += s.what.Network.String()
	}
	return fmt.Sprintf("the subnets (%s)", text)
}
