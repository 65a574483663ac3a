package stream

import (
	"context"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// Drained tells how a stop of the stream service went, or how far it is.
type Drained struct {
	Total        int // targets that were served when it began
	Moved        int
	Left         int // targets still here
	LongestPause time.Duration
}

// StopStream refuses log-ins and asks every target to log in elsewhere, each
// at its own slot, serves on until they have gone, and returns when all have or
// the deadline is over. progress is called now and then; it may be nil. Targets
// that are left at the deadline are told that the session is over.
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
		if d.Left == 0 {
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

// StartStream accepts log-ins again.
func (s *Server) StartStream() {
	s.frontMu.Lock()
	s.front.Start()
	s.frontMu.Unlock()
}

// Streaming tells whether log-ins are accepted.
func (s *Server) Streaming() bool {
	s.frontMu.Lock()
	defer s.frontMu.Unlock()
	return !s.front.Stopped()
}

// drain watches the sessions that were there when a stop began.
type drain struct {
	s    *Server
	list []*entry
}

func (s *Server) beginDrain(reason wire.GoingAwayReason, deadline time.Duration) *drain {
	d := &drain{s: s}
	for _, e := range s.table.all(nil) {
		e.mu.Lock()
		if e.confirmed && !e.session.Ended() {
			d.list = append(d.list, e)
		}
		e.mu.Unlock()
	}
	now := s.now()
	for i, e := range d.list {
		e.mu.Lock()
		a := s.cfg.Admitter.Alternates(e.session.Who, e.session.Disk.Content)
		f := wire.GoingAway{Number: uint32(now), Reason: reason, SlotMS: uint32(slot(i, len(d.list), deadline).Milliseconds())}
		if len(a.List) > 0 {
			f.Proposed = a.List[0].Name
		}
		e.session.GoAway(now, f, now.Add(deadline))
		e.session.Tick(now)
		s.release(e)
		s.clock.hurry(e)
	}
	return d
}

func (d *drain) state() Drained {
	r := Drained{Total: len(d.list)}
	for _, e := range d.list {
		e.mu.Lock()
		switch {
		case !e.session.Ended():
			r.Left++
		case e.session.Stats.Left != 0:
			r.Moved++
			r.LongestPause = max(r.LongestPause, e.session.Stats.Pause)
		}
		e.mu.Unlock()
	}
	return r
}

// close tells those that are left that it is over.
func (d *drain) close() Drained {
	r := d.state()
	for _, e := range d.list {
		e.mu.Lock()
		e.session.Close(wire.CodeStopped, "")
		d.s.release(e)
	}
	return r
}
