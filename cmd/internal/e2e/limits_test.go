//go:build e2e || system

package e2e

import "time"

// How long after power-on things may take. Machines of two cores under other load take twice what they take alone.
const (
	toInit       = 60 * time.Second  // BIOS PXE to the root's init: 6-10 s alone
	toInitUEFI   = 90 * time.Second  // 12-17 s
	toInitProxy  = 120 * time.Second // 10 s, UEFI 20 s
	toInitSecure = 180 * time.Second // 22-29 s
	toSystem     = 120 * time.Second // systemd to multi-user: 19 s

	// seconds is how long a command may take.
	seconds = 30 * time.Second
)
