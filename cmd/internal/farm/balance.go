package farm

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/logging"
	"github.com/spate-project/spate/loadbalance"
	"github.com/spate-project/spate/stream"
)

// Balance is the pace at which a server moves its running targets to others that have less to do. Each server
// looks after its own targets only, on what the others have reported: the busy one acts. The looks of two
// servers are drawn apart at random, and reports come much more often than looks, so that two busy servers do
// not fill a third one at once.
type Balance struct {
	// Every is the mean time between two looks, Within how long the server that is proposed to a target may take.
	Every, Within time.Duration
	// Boot is how long a session counts as one of a machine that starts.
	Boot time.Duration
	Pace loadbalance.Pace
}

// The pace when nothing is said.
const (
	balanceEvery  = 30 * time.Second
	balanceWithin = 10 * time.Second
	bootTime      = 2 * time.Minute
)

// orUsual fills in what is not said.
func (b Balance) orUsual() Balance {
	b.Every, b.Within = cmp.Or(b.Every, balanceEvery), cmp.Or(b.Within, balanceWithin)
	b.Boot = cmp.Or(b.Boot, bootTime)
	b.Pace = cmp.Or(b.Pace, loadbalance.DefaultPace())
	return b
}

// boots tells that a session is one of a machine that starts. One that was referred here, or has moved in its boot, starts as
// well: those that boot from their vDisk say for how long they run.
func (b Balance) boots(x stream.SessionView) bool {
	if x.Uptime > 0 {
		return x.Uptime < b.Boot
	}
	return !x.Resumed && x.Since < b.Boot
}

// balance looks again and again until the context ends.
func (f *Farm) balance(ctx context.Context) {
	b := f.o.Balance
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		next.Reset(b.Every/2 + rand.N(b.Every))
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			f.rebalance(b)
		}
	}
}

// rebalance asks a few of this server's targets to move, if there is a reason.
func (f *Farm) rebalance(b Balance) {
	p := f.streams.Load()
	if p == nil || !(*p).Streaming() {
		return
	}
	sessions := (*p).Sessions()
	if v := f.view(); v.boots() > b.Pace.MaxBooting {
		f.log.Debug("nothing moves while many targets boot", zap.Float64("share", v.boots()))
		return
	}
	var list []stream.Proposal
	for _, g := range f.view().crowds(sessions, b) {
		plan := loadbalance.Rebalance(g.policy, b.Pace, f.view().settled(g.vdisk, g.version, len(sessions)), g.running)
		f.log.Debug("balance", zap.String(logging.KeyVDisk, g.policy.VDisk), zap.String(logging.KeyReason, plan.Reason))
		for _, m := range plan.Moves {
			x := g.sessions[m.Target]
			list = append(list, stream.Proposal{MAC: x.MAC, Addr: x.Addr, To: m.To})
			f.peers.assign(m.To, m.Target) // counted by all that is decided before the next report
			f.log.Info("target is asked to move", zap.String(logging.KeyDevice, m.Target), zap.String("to", m.To),
				zap.String(logging.KeyReason, m.Reason))
		}
	}
	(*p).Propose(list, b.Within)
}

// boots is the share of the farm's targets that are starting.
func (v view) boots() float64 {
	all, starting := 0, 0
	for _, p := range v.peers {
		if p.alive {
			all += p.report.Sessions
			starting += p.report.Booting
		}
	}
	return float64(starting) / float64(max(all, 1))
}

// crowd is targets of this server to which the same rules and servers apply.
type crowd struct {
	policy   loadbalance.Policy
	vdisk    VDisk
	version  Replica
	running  []loadbalance.Running
	sessions map[string]stream.SessionView // by the target's id
}

// crowds groups the targets that may be moved, by collection and version.
func (v view) crowds(sessions []stream.SessionView, b Balance) []*crowd {
	type key struct {
		collection string
		content    Content
	}
	found := map[key]*crowd{}
	var all []*crowd
	for _, x := range sessions {
		c := Content{x.Disk.Content.Root, x.Disk.Content.Timestamp}
		a := ask{mac: x.MAC, addr: x.Addr.Addr(), resume: true, content: &c}
		o, ok := v.identify(a)
		if !ok || !x.Confirmed || o.collection.Rebalance != On {
			continue
		}
		if o, ok = v.version(a, o); !ok {
			continue
		}
		at := key{o.collection.Name, c}
		if found[at] == nil {
			found[at] = &crowd{policy: o.collection.policy(o.label()), vdisk: o.vdisk, version: o.version, sessions: map[string]stream.SessionView{}}
			all = append(all, found[at])
		}
		g, id := found[at], o.device.MAC.String()
		if _, twice := g.sessions[id]; twice {
			continue // it is just renewing its session
		}
		g.sessions[id] = x
		g.running = append(g.running, loadbalance.Running{
			Target: loadbalance.Target{ID: id, Zone: v.zoneOf(o), Addr: a.addr, Current: v.self, Reconnect: true},
			Age:    x.Since, Booting: b.boots(x),
		})
	}
	slices.SortFunc(all, func(a, b *crowd) int { return cmp.Compare(a.policy.VDisk, b.policy.VDisk) })
	return all
}

// settled are the candidates of [view.candidates], of which those count as just come back that have just begun to
// serve, for whatever reason: nobody is moved to a server that may go again in a moment. What this server carries is
// known better than from its report.
func (v view) settled(d VDisk, want Replica, own int) []loadbalance.Server {
	all := v.candidates(d, want)
	for i := range all {
		s := &all[i]
		if s.Name == v.self {
			s.Sessions, s.Assigned = own, 0
			continue
		}
		p, _ := v.peer(s.Name)
		if since := max(p.serving, 1); s.Returned == 0 || since < s.Returned {
			s.Returned = since
		}
	}
	return all
}
