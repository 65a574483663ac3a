package loadbalance

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Pace bounds what Rebalance does at a time.
type Pace struct {
	// MinTargets is the number of targets on all servers below which nothing is moved: a few differ by chance.
	MinTargets int
	// MaxBooting is the share of targets that may be booting; above it the loads are about to change anyway.
	MaxBooting float64
	// MinAge is how long a target must have been on its server before it is moved.
	MinAge time.Duration
	// Imbalance is how many times as busy as the other server a target's own one must be, beyond a few
	// targets, before the target is moved.
	Imbalance float64
	// Step is the share of the running targets that one call moves at most; it moves at least one.
	Step float64
}

// DefaultPace moves the twentieth part of the targets at a time, away from servers that carry a quarter more
// than others.
func DefaultPace() Pace {
	return Pace{MinTargets: 20, MaxBooting: 0.1, MinAge: 2 * time.Minute, Imbalance: 1.25, Step: 0.05}
}

// Running is a target with a running session.
type Running struct {
	// Target has the serving server in Current.
	Target Target
	// Age is how long the target has been on that server.
	Age time.Duration
	// Booting tells that the target still reads what a start needs.
	Booting bool
}

// Move proposes to move one target.
type Move struct {
	Target, From, To string
	// Reason says in words why.
	Reason string
}

// Plan is the answer of Rebalance.
type Plan struct {
	Moves []Move
	// Reason says in words why there are so many moves, or why there are none.
	Reason string
}

// Rebalance proposes the next few moves for targets of one vDisk and one policy: those that the caller has to
// move, which may be one server's own. Servers are as for Choose, with all their sessions, also those of other
// vDisks. It does not propose what Choose would not
// choose, and never takes a target from a server that is not eligible for it: such a target moves by itself.
func Rebalance(p Policy, pace Pace, servers []Server, running []Running) Plan {
	booting := 0
	for _, r := range running {
		if r.Booting {
			booting++
		}
	}
	all := 0
	for _, s := range servers {
		all += max(s.Sessions, 0)
	}
	all = max(all, len(running)) // reports are a moment old
	switch {
	case all < max(pace.MinTargets, 2):
		return Plan{Reason: fmt.Sprintf("%d targets run, too few to balance", all)}
	case float64(booting) > pace.MaxBooting*float64(len(running)):
		return Plan{Reason: fmt.Sprintf("%d of %d targets are booting; nothing moves until they have", booting, len(running))}
	}
	view := slices.Clone(servers)
	limit := max(1, int(pace.Step*float64(len(running))))
	var plan Plan
	for _, r := range busiestFirst(view, running) {
		if len(plan.Moves) == limit {
			break
		}
		if r.Booting || r.Age < pace.MinAge {
			continue
		}
		if m, ok := p.better(pace, view, r.Target); ok {
			plan.Moves = append(plan.Moves, m)
		}
	}
	plan.Reason = fmt.Sprintf("moves %d of %d targets", len(plan.Moves), len(running))
	if len(plan.Moves) == 0 {
		plan.Reason = fmt.Sprintf("%d targets are where they should be", len(running))
	}
	return plan
}

// busiestFirst sorts targets by the load of their server, then by their hash, so that it is not always the
// same machine that moves first.
func busiestFirst(servers []Server, running []Running) []Running {
	load := map[string]float64{}
	for _, s := range servers {
		load[s.Name] = s.Load()
	}
	sorted := slices.Clone(running)
	slices.SortStableFunc(sorted, func(a, b Running) int {
		x, y := a.Target, b.Target
		return cmp.Or(cmp.Compare(load[y.Current], load[x.Current]), cmp.Compare(hash(x.ID, x.Current), hash(y.ID, y.Current)))
	})
	return sorted
}

// better looks for a server that suits the target clearly better than the present one, and counts the move
// in view.
func (p Policy) better(pace Pace, view []Server, t Target) (Move, bool) {
	from := slices.IndexFunc(view, func(s Server) bool { return s.Name == t.Current })
	if from < 0 {
		return Move{}, false
	}
	if why, _ := p.refusal(t, view[from]); why != "" {
		return Move{}, false
	}
	fresh := t
	fresh.Current = ""
	name, ok := Choose(p, fresh, view).Server()
	if !ok || name == t.Current {
		return Move{}, false
	}
	to := slices.IndexFunc(view, func(s Server) bool { return s.Name == name })
	move := Move{Target: t.ID, From: t.Current, To: name}
	here, there := candidate{Server: view[from], load: view[from].Load()}, candidate{Server: view[to], load: view[to].Load()}
	here.class, there.class = p.classify(fresh, here.Server), p.classify(fresh, there.Server)
	switch {
	case there.class.compare(here.class) < 0:
		move.Reason = "suits better: " + p.group(there)
	case there.class == here.class && here.load > (there.load+oneTarget/there.power())*pace.Imbalance+stickyTargets/here.power():
		move.Reason = fmt.Sprintf("less busy: %.1f against %.1f", there.load, here.load)
	default:
		return Move{}, false
	}
	if view[from].Sessions > 0 {
		view[from].Sessions--
	}
	view[to].Assigned++
	return move, true
}
