package farm

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

// The bounds of what is remembered of machines that boot.
const (
	maxMachines      = 2048
	maxMachineEvents = 32 // of one machine
	maxEventBytes    = 512
	// newStart is the silence after which a machine counts as started anew: firmware and loaders pause for less.
	newStart = 2 * time.Minute
)

// BootEvent is what a boot service did for a machine.
type BootEvent struct {
	// At is by the clock of the server that tells it.
	At time.Time `json:"at"`
	// Service is dhcp, tftp, http or script.
	Service string `json:"service"`
	Text    string `json:"text"`
	// Problem says that somebody may have to act.
	Problem bool `json:"problem,omitempty"`
	// Times is how often it happened in a row, the last time at At.
	Times int `json:"times"`
}

// machines remembers what the boot services of this server did for each machine: the last of it, for the machines that
// were heard of last. It is safe for concurrent use.
type machines struct {
	mu     sync.Mutex // guards the fields below
	all    map[MAC]*list.Element
	recent list.List // of *machine, the one heard of last in front
}

type machine struct {
	mac    MAC
	events []BootEvent // oldest first
	seen   int         // all that ever happened
	last   time.Time
	// began is when the machine was first heard of after a silence, at a start or because its system renews its lease; or
	// when it was reset.
	began time.Time
	// start is began as of when the machine last asked for its script, at script: that was a start. firmware is how long
	// it took until the kernel ran, at kernel; 0 when that is not known.
	start, script, kernel time.Time
	firmware              time.Duration
	booting               bool // its firmware was heard of, and it has not asked for its script since
}

// note takes an event. It returns whether the same happened just before.
func (m *machines) note(now time.Time, e bootsvc.Event) (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[MAC]*list.Element{}
	}
	mac := MAC(e.MAC)
	at := m.all[mac]
	if at == nil {
		if len(m.all) >= maxMachines {
			oldest := m.recent.Back()
			delete(m.all, m.recent.Remove(oldest).(*machine).mac)
		}
		at = m.recent.PushFront(&machine{mac: mac})
		m.all[mac] = at
	}
	m.recent.MoveToFront(at)
	one := at.Value.(*machine)
	if one.began.IsZero() || now.Sub(one.last) > newStart || e.Firmware && !one.booting {
		one.began = now
	}
	one.booting = (one.booting || e.Firmware) && !e.Script
	if e.Script {
		one.start, one.script, one.firmware = one.began, now, 0
	}
	one.last = now
	one.seen++
	text := strings.TrimPrefix(e.Text, e.MAC.String()+", ") // whose it is, is known here
	text = text[:min(len(text), maxEventBytes)]
	if n := len(one.events); n > 0 {
		last := &one.events[n-1]
		if last.Service == e.Service && last.Text == text && last.Problem == e.Problem {
			last.At = now
			last.Times++
			return true
		}
	}
	if len(one.events) == maxMachineEvents {
		one.events = slices.Delete(one.events, 0, 1)
	}
	one.events = append(one.events, BootEvent{At: now, Service: e.Service, Text: text, Problem: e.Problem, Times: 1})
	return false
}

// events returns what was done for a machine, oldest first, and how much there ever was.
func (m *machines) events(mac MAC) ([]BootEvent, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.all[mac]
	if at == nil {
		return nil, 0
	}
	one := at.Value.(*machine)
	return slices.Clone(one.events), one.seen
}
