package loadbalance

import "time"

const (
	// targetDelay is the queue delay that weighs as much as one more target on a server of power 1. A disk
	// that keeps up answers within a fraction of it.
	targetDelay = time.Millisecond

	// maxDelay bounds what a queue delay can weigh, so that one report from a bad second does not keep
	// targets from a server for ever.
	maxDelay = time.Second

	// targetEgressBytes is the sending rate, in bytes a second, that weighs as much as one more target on a
	// server of power 1: a machine that boots reads about that much; an idle one next to nothing.
	targetEgressBytes = 10e6

	// nearBest and oneTarget say which servers count as equally busy: those whose load is at most the tenth
	// part, or one target, above the least.
	nearBest  = 1.1
	oneTarget = 1.0

	// stickyFactor and stickyTargets say how much busier than the least busy server the present one must be
	// before a target that asks again is sent elsewhere.
	stickyFactor  = 1.5
	stickyTargets = 4.0
)

// Load is what the server carries, in targets a unit of power: sessions, log-ins sent to it since its last
// report, and what its queue delay and egress rate amount to.
func (s Server) Load() float64 {
	delay := min(max(s.QueueDelay, 0), maxDelay)
	egress := max(s.EgressBytes, 0) / targetEgressBytes
	targets := float64(max(s.Sessions, 0) + max(s.Assigned, 0))
	return (targets+egress)/s.power() + float64(delay)/float64(targetDelay)
}

func (s Server) power() float64 {
	if s.Power > 0 {
		return s.Power
	}
	return 1
}

func (s Server) full() bool {
	return s.Limit > 0 && s.Sessions+s.Assigned >= s.Limit
}

// freeSteps is the number of steps in which free capacity counts for the ranking of alternates. Few steps
// keep the order of a target's alternates while sessions come and go.
const freeSteps = 4

// weight is what the server counts for among a target's alternates: its power times its free capacity, in
// steps of a quarter. A full server keeps half a step, because a reconnecting target may still go there.
func (s Server) weight() float64 {
	if s.Limit <= 0 {
		return s.power()
	}
	free := max(0, s.Limit-s.Sessions-s.Assigned)
	steps := float64((free*freeSteps + s.Limit - 1) / s.Limit) // rounded up
	return s.power() * max(steps, 0.5) / freeSteps
}
