package engine

import "github.com/spate-project/spate/stream/wire"

// awayState is a request to move, as a session repeats it. Each time it is sent
// it wants to be acknowledged anew, also after the target has promised to move:
// that shows that the target is still there. One that is not there any more has
// moved without its good-bye having come through, and nobody waits for it.
type awayState struct {
	active bool
	frame  wire.GoingAway
	acked  bool // since it was due last
	told   bool // acknowledged once: the target knows its slot
	asked  int  // so often, since the target was heard last
	again  Instant
	until  Instant
}

// GoAway asks the target to move, and repeats it until the target has left. When
// nobody answers any more the session ends as one that is not waited for. Only a
// request for the sake of balance is dropped instead, and when until is over.
func (s *Session) GoAway(now Instant, f wire.GoingAway, until Instant) {
	s.away = awayState{active: true, frame: f, again: now, until: until}
	s.wants = true // to move, the target must know where to
}

// Stay takes the request to move back. A target that has not moved yet stays.
func (s *Session) Stay(now Instant) {
	if a := &s.away; a.active && a.frame.Reason != wire.AwayWithdrawn {
		// Under a number of its own, so that the acknowledgement of the request is not taken for that of the withdrawal.
		s.GoAway(now, wire.GoingAway{Number: a.frame.Number + 1, Reason: wire.AwayWithdrawn}, now.Add(awayAsks*awayAgain))
	}
}

// tickAway repeats the request to move.
func (s *Session) tickAway(now Instant) {
	a := &s.away
	if !a.active || now < a.again {
		return
	}
	if optional := a.frame.Reason == wire.AwayRebalance || a.frame.Reason == wire.AwayWithdrawn; a.asked >= awayAsks || optional && now >= a.until {
		a.active = false
		if !optional {
			s.Close(wire.CodeStopped, "")
		}
		return
	}
	f := a.frame
	f.DeadlineMS = uint32(max(0, a.until.Sub(now)).Milliseconds())
	if a.told {
		f.SlotMS = 0
	}
	s.queue(f)
	s.wantOffer(now)
	a.asked++
	a.acked = false
	a.again = now.Add(awayAgain)
}

// awayAcked: the target has heard the request. It is reminded later.
func (s *Session) awayAcked(now Instant, number uint32) {
	if a := &s.away; a.active && !a.acked && number == a.frame.Number {
		a.acked, a.told = true, true
		a.again = now.Add(awayReminder)
		a.active = a.frame.Reason != wire.AwayWithdrawn
	}
}

// heardOf notes an authentic datagram of the target.
func (s *Session) heardOf(now Instant) {
	s.heard = now
	s.away.asked = 0
}
