package bootreplay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Disk is what a recording is replayed against. Many reads are asked of it at once. A blockdev.Device is one, NBD another.
type Disk interface {
	// ReadAt fills p with what is at off, or fails.
	ReadAt(ctx context.Context, p []byte, off int64) error
}

// Options of a replay.
type Options struct {
	// Think keeps the time that the machine took between its reads. Without it a read is issued as soon as it could have
	// been, and only the disk counts.
	Think bool
	// Check looks at what was read, from many goroutines, inside the time that is measured; nil for none.
	Check func(p []byte, off int64) error
}

// Result is what a replay has taken.
type Result struct {
	Took  time.Duration // from the begin of the first read to the end of the last
	Reads int
	Bytes int64
}

// step is one read of a replay.
type step struct {
	off    int64
	length int64
	after  []int         // steps that must have ended, besides those that earlier steps wait for
	think  time.Duration // the machine's own time before it
}

// plan turns the requests into steps.
func (r *Recording) plan() []step {
	var own spans // what the machine has written
	var reads []Request
	for _, q := range r.Requests {
		switch q.Op {
		case Write, Trim, Zero:
			own.add(q.Offset, q.Length)
		case Read:
			if !own.holds(q.Offset, q.Length) {
				reads = append(reads, q)
			}
		}
	}
	byEnd := make([]int, len(reads))
	for i := range byEnd {
		byEnd[i] = i
	}
	slices.SortStableFunc(byEnd, func(a, b int) int { return cmp.Compare(reads[a].End, reads[b].End) })
	steps := make([]step, len(reads))
	var last time.Duration // the later of the begin of the read before and the end of the last one that has ended
	for i, q := range reads {
		s := step{off: q.Offset, length: q.Length}
		for len(byEnd) > 0 && byEnd[0] < i && reads[byEnd[0]].End <= q.Begin {
			s.after = append(s.after, byEnd[0])
			last = max(last, reads[byEnd[0]].End)
			byEnd = byEnd[1:]
		}
		if i > 0 {
			s.think = q.Begin - last
		}
		last = max(last, q.Begin)
		steps[i] = s
	}
	return steps
}

// reading is a step that was issued.
type reading struct {
	done chan struct{} // closed when ended and err stand
	at   time.Time     // of its end
	err  error
}

// Replay reads from d what the machine has read, and returns how long that took. The first read that fails ends it.
func Replay(ctx context.Context, r *Recording, d Disk, o Options) (Result, error) {
	if err := r.check(); err != nil {
		return Result{}, err
	}
	steps := r.plan()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := make([]*reading, 0, len(steps))
	result, err := Result{}, error(nil)
	begin := time.Now()
	last := begin
	for _, s := range steps {
		if last, err = pause(ctx, all, s, last, o.Think); err != nil {
			cancel() // what is under way is not needed any more
			break
		}
		all = append(all, issue(ctx, d, s, o.Check))
		result.Reads++
		result.Bytes += s.length
	}
	for _, g := range all {
		<-g.done
		if err == nil {
			err = g.err
		}
		if g.at.After(last) {
			last = g.at
		}
	}
	result.Took = last.Sub(begin)
	return result, err
}

// pause waits until a step may be issued, and returns when that is. last is when the step before was issued, or what it
// waited for had ended.
func pause(ctx context.Context, all []*reading, s step, last time.Time, think bool) (time.Time, error) {
	for _, i := range s.after {
		<-all[i].done
		if all[i].err != nil {
			return last, all[i].err
		}
		if all[i].at.After(last) {
			last = all[i].at
		}
	}
	if think {
		t := time.NewTimer(time.Until(last.Add(s.think)))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	if now := time.Now(); now.After(last) {
		last = now
	}
	return last, context.Cause(ctx)
}

// issue starts a read, which ends with the disk's answer; Replay waits for it.
func issue(ctx context.Context, d Disk, s step, check func([]byte, int64) error) *reading {
	g := &reading{done: make(chan struct{})}
	go func() {
		defer close(g.done)
		p := make([]byte, s.length)
		err := d.ReadAt(ctx, p, s.off)
		if err == nil && check != nil {
			err = check(p, s.off)
		}
		if err != nil {
			g.err = fmt.Errorf("read %d bytes at %d: %w", s.length, s.off, err)
		}
		g.at = time.Now()
	}()
	return g
}
