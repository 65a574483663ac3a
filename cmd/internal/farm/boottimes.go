package farm

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// BootTimes are when a target that booted from its vDisk reached each stage, in milliseconds since its kernel started; 0 is
// unknown.
type BootTimes struct {
	// Firmware is from the first that a server heard of the machine to the start of the kernel: what the boot services and
	// the firmware took. It is known while the server is alive that gave the machine its script, and was not started since.
	Firmware uint32 `json:"firmware_ms,omitempty"`
	Modules  uint32 `json:"modules_ms,omitempty"`
	Network  uint32 `json:"network_ms,omitempty"`
	LogIn    uint32 `json:"log_in_ms,omitempty"`
	Attached uint32 `json:"attached_ms,omitempty"`
	Root     uint32 `json:"root_ms,omitempty"`
	Init     uint32 `json:"init_ms,omitempty"`
	// Total is Firmware and the last stage that was reached.
	Total uint32 `json:"total_ms"`
}

// longestFirmware is what firmware and boot loaders take at most: a longer time is that of another start.
const longestFirmware = 15 * time.Minute

// bootTimesOf is what a target has told; nil when it did not boot from its vDisk, or has not told yet.
func bootTimesOf(t wire.BootTimes) *BootTimes {
	if t.UptimeMS = 0; t == (wire.BootTimes{}) {
		return nil
	}
	b := &BootTimes{
		Modules: t.ModulesMS, Network: t.NetworkMS, LogIn: t.LogInMS, Attached: t.AttachedMS, Root: t.RootMS, Init: t.InitMS,
	}
	b.sum()
	return b
}

func (b *BootTimes) sum() {
	b.Total = b.Firmware + max(b.Modules, b.Network, b.LogIn, b.Attached, b.Root, b.Init)
}

// addFirmware adds the time before the kernel started; 0 where that is not known.
func (b *BootTimes) addFirmware(took time.Duration) {
	b.Firmware = uint32(took.Milliseconds())
	b.sum()
}

// What the uptime of a target says of the time by our clock at which its kernel started is wrong by the time that its word was
// under way, and because two clocks go apart, by less than one part in clockDrift.
const (
	clockDrift = 1000
	underWay   = time.Second
)

// firmware is how long a machine took until its kernel ran, which was the machine's uptime ago: whichever server it logged in
// to first and wherever it has moved since. 0 means that this server did not give it the script of that start.
func (m *machines) firmware(now time.Time, mac MAC, uptime time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.all[mac]
	if at == nil || uptime <= 0 {
		return 0
	}
	one := at.Value.(*machine)
	kernel, wrong := now.Add(-uptime), underWay+uptime/clockDrift
	took := kernel.Sub(one.start)
	switch {
	case one.firmware > 0 && kernel.Sub(one.kernel).Abs() <= wrong:
		return one.firmware // as it was told first: the clocks were nearest then
	case one.start.IsZero() || kernel.Add(wrong).Before(one.script):
		return 0 // this is what is left of an earlier start
	case one.booting && kernel.After(one.began):
		return 0 // it has started again, with the script of another server
	case took <= 0 || took >= longestFirmware:
		return 0
	}
	one.firmware, one.kernel = took, kernel
	return took
}

// kernelAge is a target whose kernel has run for Uptime, and what its firmware took before.
type kernelAge struct {
	MAC      MAC           `json:"mac"`
	Uptime   time.Duration `json:"uptime_ns"`
	Firmware time.Duration `json:"firmware_ns,omitempty"`
}

// firmwareOf fills in what this server knows, and leaves the others out.
func (f *Farm) firmwareOf(asked []kernelAge) (known []kernelAge) {
	now := time.Now()
	for _, k := range asked[:min(len(asked), maxMachines)] {
		if k.Firmware = f.machines.firmware(now, k.MAC, k.Uptime); k.Firmware > 0 {
			known = append(known, k)
		}
	}
	return known
}

// addFirmware adds to targets how long their firmware took. The server that gave a machine its script knows: it need neither be
// this one nor the one that serves. One that cannot be asked leaves its part out, and one that has just not answered is not asked.
func (f *Farm) addFirmware(ctx context.Context, list TargetList) {
	ctx, stop := context.WithTimeout(ctx, askWithin)
	defer stop()
	of := map[kernelAge]time.Duration{}
	var asked []kernelAge
	for _, t := range list.Targets {
		if t.Boot != nil && t.Uptime > 0 {
			asked = append(asked, kernelAge{MAC: t.MAC, Uptime: t.Uptime})
		}
	}
	if len(asked) == 0 {
		return
	}
	var (
		mu    sync.Mutex // guards of
		calls sync.WaitGroup
	)
	take := func(known []kernelAge) {
		mu.Lock()
		defer mu.Unlock()
		for _, k := range known {
			of[kernelAge{MAC: k.MAC, Uptime: k.Uptime}] = k.Firmware
		}
	}
	for _, p := range f.peers.peers() {
		if p.name == f.o.Name || !p.alive || slices.Contains(list.Missing, p.name) {
			continue
		}
		calls.Go(func() { // waited for below; ends with ctx
			var known []kernelAge
			if f.peers.Call(ctx, p.name, methodFirmware, asked[:min(len(asked), maxMachines)], func(b json.RawMessage) error { return json.Unmarshal(b, &known) }) == nil {
				take(known)
			}
		})
	}
	take(f.firmwareOf(asked))
	calls.Wait()
	for _, t := range list.Targets {
		if took := of[kernelAge{MAC: t.MAC, Uptime: t.Uptime}]; t.Boot != nil && took > 0 {
			t.Boot.addFirmware(took)
		}
	}
}
