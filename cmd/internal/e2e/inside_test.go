//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// card finds the card of the machine and calls it $card.
const card = "card=$(ls /sys/class/net | grep -v lo); "

// What is done to a machine from inside it costs it nothing: the worker dies, the network changes under it.
func TestAMachineGoesOnWhateverIsDoneInsideIt(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	m := l.Boot(vmlab.Hardware{Memory: 1024})
	settles(t, m)
	remember(t, m)
	for _, c := range []struct{ name, line string }{
		{"worker killed", "for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline | grep -q ^@spate-worker; then kill -9 ${p#/proc/} && echo killed; fi; done"},
		{"address changed", card + "old=$(ip -4 -o addr show dev $card | tr -s ' ' | cut -d' ' -f4); ip addr del $old dev $card; ip addr add 10.177.0.90/24 dev $card; ip -4 -o addr show dev $card"},
		{"interface renamed", card + "ip link set $card down; ip link set $card name renamed0; ip link set renamed0 up; ip addr replace 10.177.0.91/24 dev renamed0; ip -4 -o addr show dev renamed0"},
		{"addresses flushed", card + "ip addr flush dev $card; sleep 3; ip addr add 10.177.0.92/24 dev $card; ip -4 -o addr show dev $card"},
		{"card re-added", card + "pci=$(readlink -f /sys/class/net/$card/device/..); echo 1 > $pci/remove; sleep 1; echo 1 > /sys/bus/pci/rescan; sleep 1; " +
			card + "ip link set $card up; ip addr replace 10.177.0.93/24 dev $card; ip -4 -o addr show dev $card"},
		{"firewall that drops everything", "nft 'add table inet closed; add chain inet closed in { type filter hook input priority 0; policy drop; }; " +
			"add chain inet closed out { type filter hook output priority 0; policy drop; }; add chain inet closed via { type filter hook forward priority 0; policy drop; }' && nft list ruleset | grep -c 'policy drop'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			out := hurt(t, m.For(t), c.line)
			if out == "" {
				t.Error("nothing was done")
			}
			t.Logf("%s; everything read again after %v", strings.ReplaceAll(out, "\n", "; "), time.Since(begin).Round(time.Millisecond))
		})
	}
	if _, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC); err != nil {
		t.Error(err)
	}
}

// The memory of a machine is full, more dirty pages wait for its disk than fit into it, and in the middle of that its server
// dies: everything is written in the end, and is what was written.
func TestAMachineUnderMemoryPressureSurvivesAFailover(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{WriteCache: "ram:256M"})
	m := l.Boot(vmlab.Hardware{Memory: 1024})
	settles(t, m)
	remember(t, m)
	// Files in memory that take a quarter of it, and a file on the disk that is rewritten in place with more than all of
	// it: in new places it would fill the write cache, and wait for ever.
	m.MustRun("head -c 128M /dev/zero > /dev/shm/hog", seconds)
	m.MustRun("(for i in $(seq 12); do head -c 100M /dev/urandom > /dev/shm/new; sha256sum < /dev/shm/new > /run/hog; dd if=/dev/shm/new of=/root/hog bs=1M conv=notrunc status=none; sync; done; echo done > /run/hogged) > /dev/null 2>&1 &", seconds)
	victim, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC)
	if err != nil {
		t.Fatal(err)
	}
	m.MustRun("sleep 8", seconds)
	if out := m.MustRun("cat /run/hogged 2>/dev/null; true", seconds); out != "" {
		t.Error("the writing was over before the server died")
	}
	victim.Kill()
	// A process that wants more memory than there is, and is killed for it.
	m.MustRun("head -c 1G /dev/zero | tail > /dev/null 2>&1; true", 2*time.Minute)
	out := m.MustRun("while ! [ -e /run/hogged ]; do sleep 0.5; done; echo 3 > /proc/sys/vm/drop_caches; sha256sum < /root/hog | cmp - /run/hog && echo same", 5*time.Minute)
	if !strings.HasSuffix(out, "same") {
		t.Errorf("the file is not what was written: %s", out)
	}
	check(t, m)
}

// A network that loses packets slows a boot down and does not stop it. At 10 % it is faster than the boot by NBD.
func TestAMachineBootsOverALossyNetwork(t *testing.T) {
	times := map[string]time.Duration{}
	for _, c := range []struct {
		name    string
		percent float64
		peer    bool
		limit   time.Duration
	}{{"2", 2, false, toInit}, {"10", 10, false, 3 * toInit}, {"10-nbd", 10, true, 5 * toInit}} {
		t.Run(c.name, func(t *testing.T) {
			l := vmlab.New(t)
			if c.peer {
				servePeer(t, l, vmlab.CommandLine)
			} else {
				addFarm(t, l, vmlab.FarmOptions{})
			}
			tap, err := l.Cable()
			if err != nil {
				t.Fatal(err)
			}
			loss, err := tap.Lose(c.percent)
			if err != nil {
				t.Fatal(err)
			}
			m := l.BootOn(tap, vmlab.Hardware{})
			m.WaitMark("init ", c.limit)
			times[c.name] = m.WaitMark("multi-user ", c.limit+toSystem).At
			said, err := loss.Check()
			t.Log(said)
			if err != nil {
				t.Error(err)
			}
			m.Healthy()
		})
	}
	if len(times) == 3 && times["10"] >= times["10-nbd"] {
		t.Errorf("with 10 %% loss the system works after %v, by NBD after %v", times["10"], times["10-nbd"])
	}
}
