package main

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	probeSleep = time.Millisecond
	// ordinary is by how much a sleep of a millisecond may be too long on a machine that has nothing to do: the slack of
	// its timers, and waking up.
	ordinary = 250 * time.Microsecond
)

// oversleep measures for how long this machine did not let a thread run that wanted to.
type oversleep struct {
	mu    sync.Mutex
	total time.Duration // guarded by mu: of sleeps that have ended
	due   time.Time     // guarded by mu: when the present sleep should end
	ended bool          // guarded by mu
	done  chan struct{}
}

// watchOversleep starts the thread; stop ends it.
func watchOversleep() *oversleep {
	o := &oversleep{done: make(chan struct{}), due: time.Now().Add(probeSleep)}
	go o.run() // ended by stop, which waits for it
	return o
}

func (o *oversleep) stop() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	<-o.done
}

func (o *oversleep) run() {
	defer close(o.done)
	// A thread of its own, put to sleep by the kernel and not by Go's scheduler, whose timers come later.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sleep := unix.NsecToTimespec(int64(probeSleep))
	for {
		o.mu.Lock()
		now := time.Now()
		o.total += beyond(now, o.due)
		o.due = now.Add(probeSleep)
		ended := o.ended
		o.mu.Unlock()
		if ended {
			return
		}
		_ = unix.Nanosleep(&sleep, nil) // a signal makes it shorter, which does no harm
	}
}

func beyond(now, due time.Time) time.Duration {
	if late := now.Sub(due); late > ordinary {
		return late
	}
	return 0
}

// until is how much was overslept up to now, with the sleep that has not ended.
func (o *oversleep) until(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total + beyond(now, o.due)
}
