//go:build linux

package nic

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"
)

// Link is a card with an address. Its methods may be called from any goroutine.
type Link struct {
	line   func(string)
	resolv string
	state  string

	mu    sync.Mutex // guards lease and way
	lease Lease
	way   way

	// What follows belongs to Up, and then to Run.
	client *client
	port   *port
	blind  patience      // while the kernel's state cannot be read
	quiet  time.Duration // until when the card is as Up left it, unless the kernel says that something has changed
}

// Up brings up a card and returns when it has an address. It never gives up: it says by line, which must not wait, what
// it waits for. The only error is that of ctx.
func Up(ctx context.Context, w Want, line func(string)) (*Link, error) {
	l := &Link{line: line, resolv: w.ResolvConf, state: w.StateFile}
	wait := patience{line: line}
	for turn := 0; ; turn++ {
		all, err := cards()
		found, why := choose(all, w)
		switch {
		case err != nil:
			why = err.Error()
		case len(found) > 0:
			only := w.Card != nil || w.Static.Device != ""
			done, err := l.try(ctx, found[turn%len(found)], w, only)
			if done || err != nil {
				return l, err
			}
			continue
		case w.Card == nil:
			for _, c := range hardware(all) {
				_ = setUp(c.index) // a card that is down does not know whether it has a link
			}
		}
		wait.say(why)
		if err := sleep(ctx, cardPoll); err != nil {
			return nil, err
		}
	}
}

// Adopt goes on with the card of an agent that has died; of w only the files count. Nothing is sent before the lease must be renewed or confirmed.
func Adopt(lease Lease, w Want, line func(string)) *Link {
	l := &Link{line: line, lease: lease, way: wayOf(lease, state{}), resolv: w.ResolvConf, state: w.StateFile}
	l.newClient(lease)
	return l
}

// Lease is what the card has now.
func (l *Link) Lease() Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lease
}

func (l *Link) newClient(lease Lease) {
	mac, err := net.ParseMAC(lease.MAC)
	if err != nil || !lease.Server.IsValid() {
		return // an address of the command line is not renewed
	}
	l.client = newClient(mac, now(), rand.Uint32)
	if lease.Address.IsValid() {
		l.client.adopt(lease, now())
	}
}

// try brings up one card. It returns false when another card's turn has come.
func (l *Link) try(ctx context.Context, c card, w Want, only bool) (done bool, err error) {
	if done, err = awaitLink(ctx, c, only, l.line); !done {
		return false, err
	}
	lease := w.given(c.mac, now())
	if lease.Address.IsValid() {
		lease.MAC = c.mac
		l.newClient(lease)
	} else {
		limit := time.Duration(0)
		if !only {
			limit = cardPatience
		}
		if lease, err = l.obtain(ctx, c, limit); err != nil || !lease.Address.IsValid() {
			return false, err
		}
	}
	lease.Index, lease.Name, lease.MAC = c.index, c.name, c.mac
	if w.Static.Hostname != "" {
		lease.Hostname = w.Static.Hostname
	}
	l.set(lease)
	for wait := (patience{line: l.line}); ; {
		err := apply(lease, l.resolv)
		if err == nil {
			l.line(lease.String())
			l.quiet = now() + firstLook
			return true, nil
		}
		wait.say(err.Error())
		if err := sleep(ctx, time.Second); err != nil {
			return false, err
		}
	}
}

func (l *Link) set(lease Lease) {
	l.mu.Lock()
	same := reflect.DeepEqual(l.lease, lease)
	if !same {
		l.lease, l.way = lease, wayOf(lease, state{})
	}
	l.mu.Unlock()
	if same {
		return
	}
	// Without the lock: whoever sends past the packet filter takes it, and memory for a file may only be had when that has sent.
	if b, err := json.Marshal(lease); err == nil && l.state != "" {
		_ = os.MkdirAll(filepath.Dir(l.state), 0o755)
		_ = write(l.state, b, 0o644) // it is for the hand-over, which says what it misses
	}
}

// awaitLink sets a card up and waits for its link, for a while only when it is one of several.
func awaitLink(ctx context.Context, c card, only bool, line func(string)) (bool, error) {
	wait := patience{line: line}
	for begin := now(); ; {
		if err := setUp(c.index); err != nil {
			wait.say(fmt.Sprintf("%s cannot be set up: %v", c, err))
		} else if linked(c.index) {
			return true, nil
		} else {
			wait.say(fmt.Sprintf("%s has no link; is the cable plugged in?", c))
		}
		if !only && now()-begin > cardPatience {
			return false, nil
		}
		if err := sleep(ctx, cardPoll); err != nil {
			return false, err
		}
	}
}

// obtain asks for a lease, for as long as limit unless that is 0.
func (l *Link) obtain(ctx context.Context, c card, limit time.Duration) (Lease, error) {
	mac, err := net.ParseMAC(c.mac)
	if err != nil {
		return Lease{}, sleep(ctx, cardPoll)
	}
	begin := now()
	l.client = newClient(mac, begin, rand.Uint32)
	defer l.close()
	l.line(fmt.Sprintf("%s: asking for an address", c))
	got := l.turn(c.index, c.String(), nil)
	for got == nil {
		end := l.client.next
		if limit > 0 {
			end = min(end, begin+limit)
		}
		packet, err := l.receive(ctx, end-now())
		if err != nil {
			return Lease{}, err
		}
		if limit > 0 && now()-begin >= limit {
			return Lease{}, nil
		}
		got = l.turn(c.index, c.String(), packet)
	}
	return *got, nil
}

// patience says what is waited for: at first after a while, when it changes, and more and more rarely.
type patience struct {
	line  func(string)
	since time.Duration
	next  time.Duration
	last  string
}

func (p *patience) say(what string) {
	t := now()
	if p.since == 0 {
		p.since, p.next = t, t+sayAfter
	}
	if t < p.next || what == "" {
		return
	}
	p.line(what)
	p.last, p.next = what, t+min(max(t-p.since, sayAfter), sayMost)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
