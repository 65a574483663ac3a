package loadbalance

import (
	"cmp"
	"slices"
)

// Choice is the answer of Choose.
type Choice struct {
	// Ranked holds the eligible servers: the chosen one, then the alternates in the order in which the
	// target should try them. It is empty when no server is eligible.
	Ranked []string
	// Verdicts has one entry for each server considered, the ranked ones first, in the order of Ranked, then
	// the others by name.
	Verdicts []Verdict
}

// Verdict is what became of one server that was considered.
type Verdict struct {
	Server string
	// Rank is 0 for the chosen server, 1 and up for alternates, and -1 for one that is not eligible.
	Rank int
	// Reason says in words why, for an administrator.
	Reason string
	// Load is the server's load in targets a unit of power, as it was compared.
	Load float64
	// Full tells that the server is not eligible for the number of its targets alone.
	Full bool
	// Near tells whether server and target are near to each other by the policy's measure; always true
	// without affinity.
	Near bool
}

// Server returns the chosen server, and false when there is none.
func (c Choice) Server() (string, bool) {
	if len(c.Ranked) == 0 {
		return "", false
	}
	return c.Ranked[0], true
}

// class is what makes an eligible server come before or after another, whatever their load: the fields are
// compared in this order, and smaller comes first.
type class struct {
	avoided, held, tag, tier, far int
}

func (a class) compare(b class) int {
	return cmp.Or(
		cmp.Compare(a.avoided, b.avoided),
		cmp.Compare(a.held, b.held),
		cmp.Compare(a.tag, b.tag),
		cmp.Compare(a.tier, b.tier),
		cmp.Compare(a.far, b.far),
	)
}

// candidate is an eligible server with what it is compared by.
type candidate struct {
	Server
	class class
	load  float64
	score float64 // rendezvous score for the device
}

// Choose ranks the servers for a target. It depends on its arguments only: every server of a farm that sees
// the same values makes the same choice. Names of servers must differ from one another.
func Choose(p Policy, t Target, servers []Server) Choice {
	var (
		eligible []candidate
		refused  []Verdict
	)
	for _, s := range servers {
		if why, full := p.refusal(t, s); why != "" {
			refused = append(refused, Verdict{Server: s.Name, Rank: -1, Reason: why, Full: full, Load: s.Load(), Near: p.near(t, s)})
			continue
		}
		eligible = append(eligible, candidate{s, p.classify(t, s), s.Load(), score(t.ID, s)})
	}
	slices.SortFunc(eligible, func(a, b candidate) int {
		return cmp.Or(a.class.compare(b.class), cmp.Compare(b.score, a.score), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(refused, func(a, b Verdict) int { return cmp.Compare(a.Server, b.Server) })

	choice := Choice{Verdicts: make([]Verdict, 0, len(servers))}
	if len(eligible) > 0 {
		i, how := pick(t, eligible)
		chosen := eligible[i]
		eligible = slices.Insert(slices.Delete(eligible, i, i+1), 0, chosen)
		for rank, c := range eligible {
			why := p.chosen(t, eligible, how)
			if rank > 0 {
				why = p.passedOver(chosen, c, rank, how)
			}
			choice.Ranked = append(choice.Ranked, c.Name)
			choice.Verdicts = append(choice.Verdicts, Verdict{Server: c.Name, Rank: rank, Reason: why, Load: c.load, Near: p.near(t, c.Server)})
		}
	}
	choice.Verdicts = append(choice.Verdicts, refused...)
	return choice
}

// classify says to which class an eligible server belongs.
func (p Policy) classify(t Target, s Server) class {
	c := class{tier: s.Tier}
	if slices.Contains(t.Avoid, s.Name) {
		c.avoided = 1
	}
	if p.held(t, s) {
		c.held = 1
	}
	// A tag takes the place of the tier: all primary replicas are one group, all secondary ones another.
	switch s.Tag {
	case Primary:
		c.tag, c.tier = -1, 0
	case Secondary:
		c.tag, c.tier = 1, 0
	case Untagged:
	}
	if !p.near(t, s) {
		c.far = 1
	}
	return c
}

// held tells whether a server that came back still waits. A target that it serves already is not sent away.
func (p Policy) held(t Target, s Server) bool {
	return s.Returned > 0 && s.Returned < p.Hold && s.Name != t.Current
}

// manner is by which rule the first of several servers of one class was chosen.
type manner uint8

const (
	byBeingAlone manner = iota
	byStickiness
	byLoad
	byDraw
)

// pick returns the index of the chosen server among the sorted candidates: one of the first class.
func pick(t Target, sorted []candidate) (int, manner) {
	n := 1
	for n < len(sorted) && sorted[n].class == sorted[0].class {
		n++
	}
	group := sorted[:n]
	if n == 1 {
		return 0, byBeingAlone
	}
	least := group[0].load
	for _, c := range group {
		least = min(least, c.load)
	}
	for i, c := range group {
		if c.Name == t.Current && c.load <= least*stickyFactor+stickyTargets/c.power() {
			return i, byStickiness
		}
	}
	// The group is sorted by the device's hash, so the first two that are near the best are the draw.
	first, second := -1, -1
	for i, c := range group {
		switch {
		case c.load > max(least*nearBest, least+oneTarget/c.power()):
		case first < 0:
			first = i
		case second < 0:
			second = i
		}
	}
	switch {
	case second < 0:
		return first, byLoad
	case group[second].load < group[first].load:
		return second, byDraw
	default:
		return first, byDraw
	}
}
