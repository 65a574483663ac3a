package stream

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/wire"
)

// Drained tells how a stop of the stream service went, or how far it is.
type Drained struct {
	Total        int // targets that were served when it began
	Moved        int
	Silent       int // gone without a word: they did not answer when asked to move, or their session ended otherwise
	Left         int // targets still here
	LongestPause time.Duration
}

// StopStream refuses log-ins and asks every target to log in elsewhere, each at its
// own slot, serves on until they have gone, and returns when all have or the
// deadline is over. A target that does not answer has gone without its good-bye
// having come through, and is not waited for. Targets that are left at the deadline
// are told that the session is over. progress is called now and then; it may be nil.
func (s *Server) StopStream(ctx context.Context, reason wire.GoingAwayReason, deadline time.Duration, progress func(Drained)) Drained {
	s.frontMu.Lock()
	s.front.Stop()
	s.frontMu.Unlock()
	run := s.beginDrain(reason, deadline)
	end := time.NewTimer(deadline)
	defer end.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		d := run.state()
		if progress != nil {
			progress(d)
		}
		if d.Left == 0 && s.unconfirmed() == 0 {
			return d
		}
		select {
		case <-look.C:
		case <-end.C:
			return run.close()
		case <-ctx.Done():
			return run.state()
		}
	}
}

// StartStream accepts log-ins again. Targets that were asked to move and have not
// yet stay; a stop that waits for them must have been ended before.
func (s *Server) StartStream() {
	s.frontMu.Lock()
	s.front.Start()
	s.frontMu.Unlock()
	s.draining.Store(nil)
	now := s.now()
	for _, e := range s.table.all(nil) {
		e.mu.Lock()
		if e.leaving != nil {
			e.leaving = nil
			e.session.Stay(now)
			e.session.Tick(now)
			s.clock.hurry(e)
		}
		s.release(e, nil)
	}
}

// Streaming tells whether log-ins are accepted.
func (s *Server) Streaming() bool {
	s.frontMu.Lock()
	defer s.frontMu.Unlock()
	return !s.front.Stopped()
}

// drain is a stop that goes on: the sessions that were there when it began and
// those that were half open then and came about later.
type drain struct {
	s      *Server
	reason wire.GoingAwayReason
	end    engine.Instant
	mu     sync.Mutex // taken inside a session's lock
	list   []*entry   // guarded by mu
	over   bool       // guarded by mu: the deadline is over, nobody is served any more
}

func (s *Server) beginDrain(reason wire.GoingAwayReason, deadline time.Duration) *drain {
	now := s.now()
	d := &drain{s: s, reason: reason, end: now.Add(deadline)}
	s.draining.Store(d)
	all := s.table.all(nil)
	for i, e := range all {
		e.mu.Lock()
		if e.confirmed && !e.session.Ended() {
			d.sendAway(e, engine.Slot(i, len(all), deadline))
		}
		s.release(e, nil)
	}
	return d
}

// sendAway asks one target to move, or tells it that it is too late for that. Its
// session is locked.
func (d *drain) sendAway(e *entry, slot time.Duration) {
	if e.leaving == d {
		return
	}
	e.leaving = d
	d.mu.Lock()
	over := d.over
	if !over {
		d.list = append(d.list, e)
	}
	d.mu.Unlock()
	if over {
		e.session.Close(wire.CodeStopped, "")
		return
	}
	now := d.s.now()
	f := wire.GoingAway{Number: uint32(d.end), Reason: d.reason, SlotMS: uint32(slot.Milliseconds())}
	if a := d.s.cfg.Admitter.Alternates(e.session.Who, e.session.Disk.Content); len(a.List) > 0 {
		f.Proposed = a.List[0].Name
	}
	e.session.GoAway(now, f, d.end)
	e.session.Tick(now)
	d.s.clock.hurry(e)
}

func (d *drain) entries() []*entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list)
}

func (d *drain) state() Drained {
	list := d.entries()
	r := Drained{Total: len(list)}
	for _, e := range list {
		e.mu.Lock()
		switch {
		case !e.session.Ended():
			r.Left++
		case e.session.Stats.Left != 0:
			r.Moved++
			r.LongestPause = max(r.LongestPause, e.session.Stats.Pause)
		default:
			r.Silent++
		}
		e.mu.Unlock()
	}
	return r
}

// close tells those that are left that it is over, and so it is for those who
// were half open until now.
func (d *drain) close() Drained {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	r := d.state()
	for _, e := range d.entries() {
		e.mu.Lock()
		e.session.Close(wire.CodeStopped, "")
		d.s.release(e, nil)
	}
	return r
}

// unconfirmed counts the half-open sessions: their targets may still come.
func (s *Server) unconfirmed() (n int) {
	for _, e := range s.table.all(nil) {
		e.mu.Lock()
		if !e.confirmed && !e.session.Ended() {
			n++
		}
		e.mu.Unlock()
	}
	return n
}

// Proposal is another server for one target, which its session's MAC and address
// name.
type Proposal struct {
	MAC  [6]byte
	Addr netip.AddrPort
	To   string // name of the server
}

// Propose asks targets to move, one after the other, to servers that have less to
// do, and returns how many it has asked. A target that is not taken there within
// the given time stays. Nobody is asked while the stream service is being stopped.
func (s *Server) Propose(list []Proposal, within time.Duration) (asked int) {
	if len(list) == 0 || s.draining.Load() != nil {
		return 0
	}
	type target struct {
		mac  [6]byte
		addr netip.AddrPort
	}
	to := make(map[target]string, len(list))
	for _, p := range list {
		to[target{p.MAC, p.Addr}] = p.To
	}
	now := s.now()
	for _, e := range s.table.all(nil) {
		e.mu.Lock()
		name, ok := to[target{e.session.Who.MAC, e.session.Addr()}]
		if ok && e.confirmed && !e.session.Ended() && e.leaving == nil {
			slot := engine.Slot(asked, len(list), within)
			e.session.GoAway(now, wire.GoingAway{
				Number: uint32(now), Reason: wire.AwayRebalance, SlotMS: uint32(slot.Milliseconds()), Proposed: name,
			}, now.Add(within))
			e.session.Tick(now)
			s.clock.hurry(e)
			asked++
		}
		s.release(e, nil)
	}
	return asked
}
