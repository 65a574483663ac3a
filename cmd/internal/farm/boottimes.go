package farm

import (
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// BootTimes are when a target that booted from its vDisk reached each stage, in milliseconds since its kernel started; 0 is
// unknown.
type BootTimes struct {
	// Firmware is from the first that a server heard of the machine to the start of the kernel: what the boot services and
	// the firmware took. It is known where the server that is asked has served the machine.
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

// addFirmware adds what this server knows of the time before a target's kernel started: by its own clock that was the
// target's uptime ago, whichever server it logged in to first and wherever it has moved since.
func (m *machines) addFirmware(now time.Time, t *TargetInfo) {
	if t.Boot == nil || t.Uptime <= 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.all[t.MAC]
	if at == nil {
		return
	}
	one := at.Value.(*machine)
	kernel := now.Add(-t.Uptime)
	if one.start.IsZero() || kernel.Before(one.script) {
		return // this is what is left of an earlier start
	}
	if took := kernel.Sub(one.start); one.firmware == 0 && took < longestFirmware {
		one.firmware = took
	}
	t.Boot.Firmware = uint32(one.firmware.Milliseconds())
	t.Boot.sum()
}
