package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/cmd/internal/testdisk"
)

// source is a disk: one of this process, or one over NBD.
type source interface {
	Size() int64
	ReadAt(ctx context.Context, p []byte, off int64) error
}

// pause is the longest read of a cycle. Net is without what the machine overslept meanwhile.
type pause struct{ gross, net time.Duration }

// reader reads a source for ever, one read at a time, and compares each byte.
type reader struct {
	name   string
	source source
	probe  bool // 4 KiB at random places, whose longest read counts; else 128 KiB one after the other
	rate   int  // bytes a second at most, for those that are no probe
	sleeps *oversleep

	bytes, wrong, failed atomic.Int64
	began                atomic.Int64 // when the present read began, Unix nanoseconds; 0 between two

	mu     sync.Mutex
	worst  pause    // guarded by mu: since take
	reads  int64    // guarded by mu: that have ended
	errors []string // guarded by mu: the first of them
}

const (
	probeSize = 4 << 10
	loadSize  = 128 << 10
	// probeRest leaves the machine time for others between two reads of a probe. What begins in it is seen that much
	// shorter at most.
	probeRest = 200 * time.Microsecond
	// failRest: a disk that fails at once is not asked again at once.
	failRest   = 50 * time.Millisecond
	errorsKept = 5
)

func (r *reader) run(ctx context.Context) error {
	var check testdisk.Checker
	size := loadSize
	if r.probe {
		size = probeSize
	}
	buf := make([]byte, size)
	pieces := r.source.Size() / int64(size)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	next := rng.Int64N(pieces)
	start := time.Now()
	for n := int64(0); ctx.Err() == nil; n++ {
		if r.probe {
			next = rng.Int64N(pieces)
		} else {
			next = (next + 1) % pieces
		}
		rest := probeRest
		if err := r.read(ctx, buf, next*int64(size)); err != nil {
			rest = failRest
		} else {
			r.wrong.Add(check.Wrong(buf, next*int64(size)))
			r.bytes.Add(int64(size))
			if !r.probe {
				due := start.Add(time.Duration(float64(n*int64(size)) / float64(r.rate) * float64(time.Second)))
				if rest = time.Until(due); rest < -time.Second { // it does not make up for long pauses
					start = start.Add(-rest)
				}
			}
		}
		pauseFor(ctx, rest)
	}
	return nil
}

func pauseFor(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// read reads once and notes how long it took.
func (r *reader) read(ctx context.Context, buf []byte, off int64) error {
	begin := time.Now()
	before := r.sleeps.until(begin)
	r.began.Store(begin.UnixNano())
	err := r.source.ReadAt(ctx, buf, off)
	end := time.Now()
	r.began.Store(0)
	if err != nil && ctx.Err() != nil {
		return err // we ended it
	}
	gross := end.Sub(begin)
	net := max(0, gross-(r.sleeps.until(end)-before))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	r.worst.gross, r.worst.net = max(r.worst.gross, gross), max(r.worst.net, net)
	if err != nil {
		r.failed.Add(1)
		if len(r.errors) < errorsKept {
			r.errors = append(r.errors, fmt.Sprintf("%s %s: %v", end.Format("15:04:05.000"), r.name, err))
		}
	}
	return err
}

// take returns the longest read since the last call.
func (r *reader) take() pause {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.worst
	r.worst = pause{}
	return w
}

// ended is how many reads have ended.
func (r *reader) ended() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads
}
