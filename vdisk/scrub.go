package vdisk

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ScrubReport is what a scrub of one replica did.
type ScrubReport struct {
	Objects int64 // pages, chunks and boot files that were read and checked
	Bytes   int64 // of the file that were read
	Bad     int64 // objects that are damaged now; they are fenced
	Unread  int64 // objects that could not be read because the file cannot be
}

// scrubStep is how often a scrub looks at its rate, in bytes.
const scrubStep = 1 << 20

// Scrub reads every page, chunk and boot file again, at no more than rate bytes a second (0: as fast as it goes), and
// checks them against the tree as Check does: damaged ones are fenced, good ones no longer are. found, which
// may be nil, gets each damaged or unreadable object when it is found. The error is that of ctx.
func (v *Version) Scrub(ctx context.Context, rate int64, found func(Damage)) (ScrubReport, error) {
	var r ScrubReport
	c := checker{v: v}
	pace := pacer{rate: rate, began: time.Now()}
	shape := v.seal.shape
	v.recheck()
	for leaf := int64(0); leaf < shape.Count(1); leaf++ {
		page, err := c.page(1, leaf)
		if err != nil {
			level, index := r.count(v, 1, leaf, err, found)
			// What is below a bad page cannot be checked; on with the next that is not below it.
			leaf = (index+1)<<(fanoutShift*(level-1)) - 1
			continue
		}
		r.count(v, 1, leaf, nil, found)
		for i, e := range page.entries {
			if e.Length == 0 && page.record.children[i].length == 0 {
				continue
			}
			index := leaf<<fanoutShift + int64(i)
			_, err := c.chunk(index)
			r.count(v, 0, index, err, found)
			r.Bytes += int64(e.Length)
			if err := pace.wait(ctx, r.Bytes); err != nil {
				return r, fmt.Errorf("scrub %s version %d: %w", v.seal.name, v.seal.number, err)
			}
		}
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("scrub %s version %d: %w", v.seal.name, v.seal.number, err)
		}
	}
	before := r.Bytes
	n, bad := v.checkBoot(func(n int64) error { return pace.wait(ctx, before+n) })
	r.Bytes += n
	r.Objects += int64(v.bootFiles())
	for _, d := range bad {
		if d.Fenced {
			r.Bad++
		} else {
			r.Unread++
		}
		if found != nil {
			found(d)
		}
	}
	if err := ctx.Err(); err != nil {
		return r, fmt.Errorf("scrub %s version %d: %w", v.seal.name, v.seal.number, err)
	}
	return r, nil
}

// recheck looks again at the pages that are known to be bad: they may have been repaired.
func (v *Version) recheck() {
	for _, d := range v.damage.list() {
		if d.Level > 0 {
			_ = v.Check(d.Level, d.Index) // what it finds is remembered
		}
	}
}

// count adds the outcome of one check, and gives the object it is about.
func (r *ScrubReport) count(v *Version, level int, index int64, err error, found func(Damage)) (int, int64) {
	r.Objects++
	if err = v.learn(level, index, err); err == nil {
		return level, index
	}
	d := Damage{Level: level, Index: index, Reason: unreadable(err)}
	var bad *DamagedError
	if errors.As(err, &bad) {
		d = Damage{Level: bad.Level, Index: bad.Index, Fenced: true, Reason: bad.Reason}
		r.Bad++
	} else {
		r.Unread++
	}
	d.Part = object(d.Level, d.Index)
	if found != nil {
		found(d)
	}
	return d.Level, d.Index
}

// pacer keeps a rate in bytes a second.
type pacer struct {
	rate  int64
	began time.Time
	next  int64 // bytes at which to look again
}

// wait waits until done bytes are due.
func (p *pacer) wait(ctx context.Context, done int64) error {
	if p.rate <= 0 || done < p.next {
		return nil
	}
	p.next = done + min(scrubStep, p.rate/10)
	due := p.began.Add(time.Duration(float64(done) / float64(p.rate) * float64(time.Second)))
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
