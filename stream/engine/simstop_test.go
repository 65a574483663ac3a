package engine

import (
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// stop is the planned stop of the stream service.
func (s *simServer) stop(deadline time.Duration) {
	s.do(func() {
		s.front.Stop()
		n := len(s.list)
		for i, x := range append([]*simSession(nil), s.list...) {
			if x.Ended() {
				continue
			}
			proposed := ""
			if alts := s.Alternates(x.Who, x.Disk.Content); len(alts.List) > 0 {
				proposed = alts.List[0].Name
			}
			x.GoAway(s.clock(), wire.GoingAway{
				Number: uint32(s.clock()), Reason: wire.AwayStopped, Proposed: proposed,
				SlotMS: uint32(Slot(i, n, deadline).Milliseconds()),
			}, s.clock().Add(deadline))
			x.Tick(s.clock())
			s.settle(x)
		}
		s.send()
	})
	s.later(deadline, func() {
		if !s.front.Stopped() {
			return
		}
		for _, x := range append([]*simSession(nil), s.list...) {
			x.Close(wire.CodeStopped, "")
			s.settle(x)
		}
		s.send()
	})
}

// stay takes a stop back.
func (s *simServer) stay() {
	s.do(func() {
		s.front.Start()
		for _, x := range append([]*simSession(nil), s.list...) {
			x.Stay(s.clock())
			x.Tick(s.clock())
			s.settle(x)
		}
		s.send()
	})
}

// balance asks every target to move to another server that has less to do.
func (s *simServer) balance(to string, within time.Duration) {
	s.do(func() {
		for _, x := range append([]*simSession(nil), s.list...) {
			x.GoAway(s.clock(), wire.GoingAway{Number: uint32(s.clock()), Reason: wire.AwayRebalance, Proposed: to}, s.clock().Add(within))
			x.Tick(s.clock())
			s.settle(x)
		}
		s.send()
	})
}
