//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// Somebody kills the keeper of a machine's disk: the worker serves on, also from another server, and starts another keeper, which in
// its turn starts another worker when that one is killed. Nothing is lost by all that, and the machine powers off as ever.
func TestAMachineOutlivesTheKeeperOfItsDisk(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	m := l.Boot(vmlab.Hardware{})
	settles(t, m)
	remember(t, m)
	const keeper = "for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline | grep -q ^@spate-keeper; then echo ${p#/proc/}; fi; done 2> /dev/null"
	old := m.MustRun(keeper, seconds)
	if old == "" || strings.Contains(old, "\n") {
		t.Fatalf("these are keepers: %q", old)
	}
	// What it was run from has been freed with the rest of the initramfs.
	m.MustRun("until readlink /proc/"+old+"/exe | grep -q deleted; do sleep 0.2; done", seconds)
	m.MustRun("kill -9 "+old, seconds)
	m.MustRun("until dmesg | grep 'there is a keeper again'; do sleep 0.2; done", seconds)
	heir := m.MustRun(keeper, seconds)
	if heir == "" || heir == old || strings.Contains(heir, "\n") {
		t.Errorf("keeper %s is dead, and these are there: %q", old, heir)
	}
	if out := m.MustRun("dmesg | grep -c 'keeper of the disk has died'; true", seconds); out != "1" {
		t.Errorf("the kernel's log tells it %s times", out)
	}
	check(t, m)
	victim, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC)
	if err != nil {
		t.Fatal(err)
	}
	victim.Kill()
	fresh(t, m, 0)
	if _, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC, f.Other(victim)); err != nil {
		t.Error(err)
	}
	workerKilled.on(t, m, 1)
	if out := m.MustRun(keeper, seconds); out != heir {
		t.Errorf("keeper %s became %q", heir, out)
	}
	m.MustRun("echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/urandom of=/var/tmp/late bs=1M count=8 status=none; sync", seconds)
	check(t, m)
	powersOff(t, m)
}
