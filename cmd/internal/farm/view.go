package farm

import (
	"slices"
	"strings"

	"github.com/spate-project/spate/loadbalance"
)

// view is the farm at one moment, as one server sees it: a value on which every decision is made.
type view struct {
	config *Config
	self   string
	peers  []peer // by name
}

func (v view) peer(name string) (peer, bool) {
	i, ok := slices.BinarySearchFunc(v.peers, name, func(p peer, name string) int { return strings.Compare(p.name, name) })
	if !ok {
		return peer{name: name, heard: -1}, false
	}
	return v.peers[i], true
}

// servers returns the servers of the farm in the order of the farm file, or by name in an open farm.
func (v view) servers() []Server {
	if !v.config.Open {
		return v.config.Servers
	}
	var all []Server
	for _, p := range v.peers {
		all = append(all, Server{Name: p.name, Tier: 1, Power: 1, Stream: p.meta.Stream})
	}
	return all
}

// vdisk returns what the farm knows of a vDisk by name; false when there is no such vDisk.
func (v view) vdisk(name string) (VDisk, bool) {
	if !v.config.Open {
		d := v.config.VDisk(name)
		if d == nil {
			return VDisk{}, false
		}
		return *d, true
	}
	for _, p := range v.peers {
		if len(p.index[shelf{OpenStore, name}]) > 0 {
			return VDisk{Name: name, Store: OpenStore}, true
		}
	}
	return VDisk{}, false
}

// vdisks returns all vDisks of the farm, in the order of the farm file, or by name in an open farm.
func (v view) vdisks() []VDisk {
	if !v.config.Open {
		return v.config.VDisks
	}
	names := map[string]bool{}
	for _, p := range v.peers {
		for at := range p.index {
			names[at.vdisk] = true
		}
	}
	var all []VDisk
	for _, n := range sortedKeys(names) {
		all = append(all, VDisk{Name: n, Store: OpenStore})
	}
	return all
}

// holders returns the servers that are listed for a vDisk's store. In an open farm these are the servers that
// hold any version of it.
func (v view) holders(d VDisk) []holder {
	var all []holder
	add := func(name string) {
		p, _ := v.peer(name)
		h := holder{server: name, live: p.alive, replicas: p.index[shelf{d.Store, d.Name}]}
		if !v.config.Open || len(h.replicas) > 0 {
			all = append(all, h)
		}
	}
	if v.config.Open {
		for _, p := range v.peers {
			add(p.name)
		}
		return all
	}
	if store := v.config.Store(d.Store); store != nil {
		for _, c := range store.Copies {
			add(c.Server)
		}
	}
	return all
}

// byContent finds the vDisk and version that has this content, whoever holds it.
func (v view) byContent(c Content) (VDisk, Replica, bool) {
	for _, p := range v.peers {
		for _, r := range p.replicas {
			if r.Content != c || r.Problem != "" {
				continue
			}
			if d, ok := v.vdisk(r.VDisk); ok && d.Store == r.Store {
				return d, r, true
			}
		}
	}
	return VDisk{}, Replica{}, false
}

// candidates are the servers as loadbalance wants them, with regard to one version.
func (v view) candidates(d VDisk, want Replica) []loadbalance.Server {
	held := map[string]loadbalance.Replica{}
	for _, h := range v.holders(d) {
		held[h.server] = h.compare(want.Number, want)
	}
	var all []loadbalance.Server
	for _, s := range v.servers() {
		p, _ := v.peer(s.Name)
		c := loadbalance.Server{
			Name: s.Name, Zone: s.Zone, Subnets: s.Subnets, Tier: s.Tier, Power: s.Power, Limit: s.Limit,
			State: v.state(p), Heard: max(p.heard, 0), Returned: p.returned,
			Replica: held[s.Name], Tag: d.tag(s.Name),
			Sessions: p.report.Sessions, Assigned: p.assigned, QueueDelay: p.report.QueueDelay, EgressBytes: p.report.Egress,
		}
		if s.Name == v.self {
			c.Returned = 0 // a server does not hold itself back: it cannot know that it was away
		}
		all = append(all, c)
	}
	return all
}

func (v view) state(p peer) loadbalance.State {
	switch {
	case !p.alive && p.heard < 0:
		return loadbalance.Unheard
	case !p.alive:
		return loadbalance.Silent
	case p.report.State == StreamServing:
		return loadbalance.Serving
	case p.report.State == StreamLeaving:
		return loadbalance.Leaving
	default:
		return loadbalance.Stopped
	}
}

func (d VDisk) tag(server string) loadbalance.Tag {
	switch {
	case slices.Contains(d.Primary, server):
		return loadbalance.Primary
	case slices.Contains(d.Secondary, server):
		return loadbalance.Secondary
	default:
		return loadbalance.Untagged
	}
}

// policy is a collection's policy as loadbalance wants it.
func (c Collection) policy(vdisk string) loadbalance.Policy {
	p := loadbalance.Policy{VDisk: vdisk, Hold: c.Hold, Allowed: c.Servers}
	switch c.Affinity {
	case AffinityPrefer:
		p.Affinity = loadbalance.AffinityPrefer
	case AffinityRequire:
		p.Affinity = loadbalance.AffinityRequire
	}
	if c.By == NearSubnet {
		p.By = loadbalance.SameSubnet
	}
	return p
}

func sortedKeys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
