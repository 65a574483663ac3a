package ndp

import (
	"sync"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

// Machines are those that ask boot services at the moment, as firmware or iPXE. It is safe for concurrent use.
type Machines struct {
	mu    sync.Mutex
	all   map[bootsvc.MAC]machine // guarded by mu
	swept time.Time               // guarded by mu
}

// machine is one of them.
type machine struct {
	asked    time.Time
	answered time.Time // by an advertisement; zero: never
}

// NewMachines gives an empty set.
func NewMachines() *Machines { return &Machines{all: map[bootsvc.MAC]machine{}} }

// Watch gives a directory for boot services that answers as dir does. A machine that asks it as firmware or iPXE is noted, until it has
// its boot script: from there a kernel is next.
func (m *Machines) Watch(dir bootsvc.Directory) bootsvc.Directory { return watched{dir, m} }

type watched struct {
	bootsvc.Directory
	machines *Machines
}

// Boot says what a machine is to boot.
func (w watched) Boot(c bootsvc.Client) bootsvc.Entry {
	e := w.Directory.Boot(c)
	if !e.Silent && (c.IPXE || c.Arch != bootsvc.ArchUnknown) {
		w.machines.ask(c.MAC, time.Now())
	}
	return e
}

// Note takes what a service did for a machine.
func (w watched) Note(e bootsvc.Event) {
	if e.Script {
		w.machines.forget(e.MAC)
	}
	w.Directory.Note(e)
}

func (m *Machines) ask(mac bootsvc.MAC, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one, known := m.all[mac]
	if !known && len(m.all) >= maxMachines {
		m.sweepLocked(now)
		if len(m.all) >= maxMachines {
			return
		}
	}
	one.asked = now
	m.all[mac] = one
}

// sweepLocked forgets machines that asked long ago.
func (m *Machines) sweepLocked(now time.Time) {
	if now.Sub(m.swept) < sweepAgain {
		return
	}
	m.swept = now
	for mac, one := range m.all {
		if now.Sub(one.asked) > window {
			delete(m.all, mac)
		}
	}
}

func (m *Machines) forget(mac bootsvc.MAC) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, mac)
}

// decide has a solicitation decided, and notes the answer.
func (m *Machines) decide(q message, r router, now time.Time) (answer bool, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.all[q.from]
	answer, reason = decide(q, one, r, now)
	if answer {
		one.answered = now
		m.all[q.from] = one
	}
	return answer, reason
}
