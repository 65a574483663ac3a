package udp

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxPlainPaths bounds the table of paths without GSO. When it is full, failing is the rule here and not the
	// exception, and GSO is switched off for the whole socket.
	maxPlainPaths = 1024
	// plainPathFor is how long a path is left without GSO before it is tried again: routes and tunnels change.
	plainPathFor = 10 * time.Minute
)

// paths remembers to which remote addresses GSO does not work. Reading it costs one atomic load while it is empty,
// which it nearly always is.
type paths struct {
	plain atomic.Pointer[map[netip.Addr]time.Time] // never written after it is stored
	off   atomic.Pointer[string]                   // reason, once GSO is off for the whole socket
	first atomic.Pointer[string]                   // reason of the first path in the table

	mu sync.Mutex // serialises add
}

// usable says whether GSO may be tried toward remote.
func (p *paths) usable(remote netip.Addr, now func() time.Time) bool {
	if p.off.Load() != nil {
		return false
	}
	m := p.plain.Load()
	if m == nil {
		return true
	}
	until, ok := (*m)[remote]
	return !ok || now().After(until)
}

// add notes that GSO failed toward remote for a reason.
func (p *paths) add(remote netip.Addr, reason string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := map[netip.Addr]time.Time{remote: now.Add(plainPathFor)}
	if m := p.plain.Load(); m != nil {
		for a, until := range *m {
			if a != remote && until.After(now) {
				next[a] = until
			}
		}
	}
	if len(next) > maxPlainPaths {
		p.disable(reason + ", to too many addresses to remember them")
		return
	}
	p.first.CompareAndSwap(nil, &reason)
	p.plain.Store(&next)
}

// disable switches GSO off for good; only the first reason is kept.
func (p *paths) disable(reason string) { p.off.CompareAndSwap(nil, &reason) }

// describe fills the GSO part of o.
func (p *paths) describe(o *Offloads) {
	if m := p.plain.Load(); m != nil {
		o.PlainPaths = len(*m)
		o.GSOReason = *p.first.Load()
	}
	o.GSO = true
	if off := p.off.Load(); off != nil {
		o.GSO, o.GSOReason = false, *off
	}
}
