//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// Somebody kills the keeper of a machine's disk, which nobody replaces: the worker serves on, also from another server, and the
// machine powers off as ever.
func TestAMachineOutlivesTheKeeperOfItsDisk(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	m := l.Boot(vmlab.Hardware{})
	settles(t, m)
	remember(t, m)
	out := m.MustRun("for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline | grep -q ^@spate-keeper; then kill -9 ${p#/proc/} && echo killed; fi; done; "+
		"sleep 1; dmesg | grep -c 'keeper of the disk has died'", seconds)
	check(t, m)
	if !strings.HasPrefix(out, "killed") || !strings.HasSuffix(out, "1") {
		t.Errorf("the keeper: %s", out)
	}
	victim, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC)
	if err != nil {
		t.Fatal(err)
	}
	victim.Kill()
	fresh(t, m, 0)
	if _, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC, f.Other(victim)); err != nil {
		t.Error(err)
	}
	m.MustRun("echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/urandom of=/var/tmp/late bs=1M count=8 status=none; sync", seconds)
	check(t, m)
	m.MustRun("systemctl --no-block poweroff", seconds)
	m.WaitLine("reboot: Power down", toSystem)
	m.WaitEnd(toSystem)
}
