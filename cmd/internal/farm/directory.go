package farm

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/cmd/internal/logging"
)

// directory is the farm as the boot services ask it. Everything is answered from memory and from this server's stores.
type directory struct{ f *Farm }

var _ bootsvc.Directory = directory{}

// Directory is the farm as the boot services of this server ask it.
func (f *Farm) Directory() bootsvc.Directory { return directory{f} }

// Settle waits until every server of the farm file was heard of, until one that is alive would have been heard of, or until
// ctx ends. Before that this server would let machines start from a version that the others lack: they are answered a moment
// later.
func (f *Farm) Settle(ctx context.Context) {
	const look = 20 * time.Millisecond
	for f.view().unheard() && time.Since(f.born) < listenFirst {
		t := time.NewTimer(look)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (f *Farm) bootFacts() bootFacts { return bootFacts{f.o.FarmKey, f.o.Boot} }

// Boot says what a machine is to boot.
func (d directory) Boot(c bootsvc.Client) bootsvc.Entry {
	return d.f.view().boot(MAC(c.MAC), d.f.bootFacts())
}

// Farm says what every boot script names.
func (d directory) Farm() bootsvc.Farm { return d.f.view().bootFarm(d.f.bootFacts()) }

// Note remembers and logs what a service did.
func (d directory) Note(e bootsvc.Event) {
	of := &d.f.machines
	if e.MAC == (bootsvc.MAC{}) {
		of = &d.f.network
	}
	again := of.note(time.Now(), e)
	level := zap.InfoLevel
	switch {
	case again:
		level = zap.DebugLevel
	case e.Problem:
		level = zap.WarnLevel
	}
	if w := d.f.bootLog.Check(level, e.Text); w != nil {
		name := e.MAC.String()
		if dev := d.f.Config().Device(MAC(e.MAC)); dev != nil {
			name = dev.Name
		}
		w.Write(zap.String("service", e.Service), zap.String(logging.KeyDevice, name), zap.Stringer("mac", e.MAC))
	}
}

// BootView is the start of a machine as one server sees it.
type BootView struct {
	Server string `json:"server"`
	// Runs tells whether the server runs boot services.
	Runs  bool      `json:"runs"`
	Entry BootEntry `json:"entry"`
	// Events are the last that the server's boot services did for the machine, oldest first; Seen is how much there was
	// since the server started.
	Events []BootEvent `json:"events,omitempty"`
	Seen   int         `json:"seen"`
	// Network are the problems that concern no machine in particular, such as another DHCP server, oldest first.
	Network []BootEvent `json:"network,omitempty"`
}

// BootEntry is what a machine would boot.
type BootEntry struct {
	// Refusal is what the person before the machine reads when it may not boot; Silent says that the machine gets no
	// answer, Why says why all is as it is.
	Refusal  string `json:"refusal,omitempty"`
	Silent   bool   `json:"silent,omitempty"`
	Why      string `json:"why"`
	Address  string `json:"address,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	// LocalDisk says that a menu offers the machine's own disk, LocalDefault that this starts by itself.
	LocalDisk    bool `json:"local_disk,omitempty"`
	LocalDefault bool `json:"local_default,omitempty"`
	// Local says that the machine boots its own disk.
	Local   bool         `json:"local,omitempty"`
	Choices []BootChoice `json:"choices,omitempty"`
	// Timeout is how long a menu waits; 0: for ever.
	Timeout    time.Duration `json:"timeout_ns,omitempty"`
	SecureBoot bool          `json:"secure_boot,omitempty"`
}

// BootChoice is a version that a machine may boot.
type BootChoice struct {
	Title string `json:"title"`
	// Default says that it starts by itself.
	Default     bool   `json:"default,omitempty"`
	CommandLine string `json:"command_line,omitempty"`
	// Missing says why it cannot be booted; empty when it can.
	Missing string `json:"missing,omitempty"`
}

// shown is an entry as people are told.
func shown(e bootsvc.Entry) BootEntry {
	b := BootEntry{
		Refusal: e.Refusal, Silent: e.Silent, Why: e.Why, Hostname: e.Hostname, Local: e.Local, LocalDisk: e.LocalDisk,
		Timeout: e.Timeout, SecureBoot: e.SecureBoot,
	}
	b.LocalDefault = len(e.Choices) > 0 && e.Default == len(e.Choices)
	if e.Address.IsValid() {
		b.Address = e.Address.String()
	}
	for i, c := range e.Choices {
		b.Choices = append(b.Choices, BootChoice{c.Title, i == e.Default, c.CommandLine, c.Missing})
	}
	return b
}

// bootView is the start of a machine as this server sees it.
func (f *Farm) bootView(mac MAC) BootView {
	b := BootView{Server: f.o.Name, Runs: f.o.Boot.IsValid(), Entry: shown(f.view().boot(mac, f.bootFacts()))}
	b.Events, b.Seen = f.machines.events(mac)
	b.Network, _ = f.network.events(MAC{})
	b.Network = slices.DeleteFunc(b.Network, func(e BootEvent) bool { return !e.Problem })
	return b
}

// bootViews asks every live server, this one first. A server that does not answer in time is named in missing.
func (f *Farm) bootViews(ctx context.Context, mac MAC) (all []BootView, missing []string) {
	ctx, stop := context.WithTimeout(ctx, askWithin)
	defer stop()
	all = []BootView{f.bootView(mac)}
	var (
		mu    sync.Mutex // guards all and missing
		calls sync.WaitGroup
	)
	for _, p := range f.peers.peers() {
		if p.name == f.o.Name || !p.alive {
			continue
		}
		calls.Go(func() { // waited for below; ends with ctx
			var there BootView
			err := f.peers.Call(ctx, p.name, methodBoot, mac, func(b json.RawMessage) error { return json.Unmarshal(b, &there) })
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing = append(missing, p.name)
				return
			}
			all = append(all, there)
		})
	}
	calls.Wait()
	slices.Sort(missing)
	slices.SortFunc(all[1:], func(a, b BootView) int { return strings.Compare(a.Server, b.Server) })
	return all, missing
}
