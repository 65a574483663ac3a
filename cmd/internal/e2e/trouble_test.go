//go:build e2e || system

package e2e

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// A trouble of the server that serves a machine, and its end.
type trouble struct {
	name string
	make func(t *testing.T, s *vmlab.Server) error
	end  func(t *testing.T, s *vmlab.Server) error
	// pause is the longest pause of a read that it may cost a machine that runs. It is ten times the figure of a quiet
	// machine: two emulated processors share two real ones with the servers.
	pause time.Duration
}

var troubles = []trouble{
	{"stopped", func(t *testing.T, s *vmlab.Server) error {
		_, err := s.Spate(t.Context(), "server", "stop-stream", s.Name)
		return err
	}, func(t *testing.T, s *vmlab.Server) error {
		_, err := s.Spate(t.Context(), "server", "start-stream", s.Name)
		return err
	}, 10 * 10 * time.Millisecond},
	{"killed", func(_ *testing.T, s *vmlab.Server) error {
		s.Kill()
		return nil
	}, func(t *testing.T, s *vmlab.Server) error {
		if err := s.Start(); err != nil {
			return err
		}
		return s.Ready(t.Context())
	}, 10 * 100 * time.Millisecond},
	{"frozen", func(_ *testing.T, s *vmlab.Server) error { return s.Signal(syscall.SIGSTOP) },
		func(_ *testing.T, s *vmlab.Server) error { return s.Signal(syscall.SIGCONT) }, 10 * 300 * time.Millisecond},
	{"cut off", func(_ *testing.T, s *vmlab.Server) error { return s.Link.Drop() },
		func(_ *testing.T, s *vmlab.Server) error { return s.Link.Pass() }, 10 * 300 * time.Millisecond},
}

// bootTakes is how long after it has its script a machine works, when nothing is wrong: moments are drawn from it.
const bootTakes = 17 * time.Second

// scriptLine is what iPXE prints when it has its script, with the server it has it from.
var scriptLine = regexp.MustCompile(`http://([0-9.]+):[0-9]+/script/\S*\.\.\. ok`)

// bootsThrough boots a machine whose serving server has a trouble some time after the machine has its script. The
// machine must come to a working system, be served by the other server, and have noticed no error.
func bootsThrough(t *testing.T, l *vmlab.Lab, f *vmlab.Farm, what trouble, after time.Duration) {
	m := l.Boot(vmlab.Hardware{})
	defer m.Kill()
	line, _, err := m.AwaitWhole(vmlab.Within(t, toInit), 0, strings.ReplaceAll(m.MAC, ":", "-")+"... ok")
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(after) // the moment is what is tested
	victim, running := servedBy(t, f, m, line.Text)
	t.Logf("%s is %s %.2f s after power-on", victim.Name, what.name, m.Uptime().Seconds())
	if err := what.make(t, victim); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := what.end(t, victim); err != nil {
			t.Error(err)
		}
	}()
	settles(t, m)
	// What it reads now comes from the other server.
	m.MustRun("echo 3 > /proc/sys/vm/drop_caches; cat /usr/bin/* > /dev/null", toInit)
	server, target, err := f.Serving(vmlab.Within(t, seconds), m.MAC, f.Other(victim))
	if err != nil {
		t.Fatal(err)
	}
	if running { // it tells what it has seen with its status, every 10 s at least
		for limit := vmlab.Within(t, seconds); target.Failovers == 0; {
			if _, target, err = f.Serving(limit, m.MAC, server); err != nil {
				t.Fatal(err)
			}
			select {
			case <-time.After(time.Second):
			case <-limit.Done():
				t.Fatal("the machine tells of no failover: its pauses are not known")
			}
		}
	}
	t.Logf("%s serves it; longest pause %v, %d failovers", server.Name, target.Pause.Round(time.Millisecond), target.Failovers)
	if target.Pause > what.pause {
		t.Errorf("the longest pause of a read was %v; at most %v", target.Pause, what.pause)
	}
	healthy(t, m)
}

// servedBy is the server that serves a machine now; before its log-in, the one that it had its script from, and running
// is false.
func servedBy(t *testing.T, f *vmlab.Farm, m *vmlab.Guest, line string) (server *vmlab.Server, running bool) {
	t.Helper()
	for _, s := range f.Servers {
		target, err := s.Target(t.Context(), m.MAC)
		if err != nil {
			t.Fatal(err)
		}
		if target != nil {
			return s, true
		}
	}
	from := scriptLine.FindStringSubmatch(line)
	for _, s := range f.Servers {
		if from != nil && s.Link.Addr.String() == from[1] {
			return s, false
		}
	}
	t.Fatalf("no server has sent the script: %q", line)
	return nil, false
}

// moment draws when a trouble comes.
func moment(r *rand.Rand) time.Duration { return time.Duration(r.Float64() * float64(bootTakes)) }

// remember writes a file of random bytes and takes checksums of it and of the system, for check.
func remember(t *testing.T, m *vmlab.Guest) {
	t.Helper()
	m.MustRun("head -c 8M /dev/urandom > /var/tmp/mine; sync; sha256sum /var/tmp/mine $(find /usr/bin /usr/sbin -type f) > /run/sums", time.Minute)
}

// check reads all that was remembered past the page cache.
func check(t *testing.T, m *vmlab.Guest) {
	t.Helper()
	out := m.MustRun("sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum --quiet -c /run/sums && echo all good", 2*time.Minute)
	if !strings.HasSuffix(out, "all good") {
		t.Errorf("files have changed:\n%s", out)
	}
	healthy(t, m)
}

// fresh reads files of the system that nobody has read yet, each part other ones: neither the system's cache nor the worker's
// has them, so they come from a server, over the network as it is now. There are some twenty parts of 12 MB.
func fresh(t *testing.T, m *vmlab.Guest, part int) {
	t.Helper()
	before, err := m.Tap.Count()
	if err != nil {
		t.Fatal(err)
	}
	out := m.MustRun(fmt.Sprintf(`find /usr/lib /usr/share -xdev -type f -printf '%%s %%p\n' | sort -k2 | `+
		`awk '{ s += $1; if (int(s / 12e6) == %d) print substr($0, index($0, " ") + 1) }' | xargs -d '\n' cat | wc -c`, part), 2*time.Minute)
	after, err := m.Tap.Count()
	if err != nil {
		t.Fatal(err)
	}
	if n := after.Minus(before).BytesToMachine; n < 1<<20 {
		t.Errorf("%s bytes of files were read, and %d came over the cable: that shows nothing", out, n)
	}
}

// An inside is a trouble of a machine that comes from inside it: a line for its shell.
type inside struct{ name, line string }

// card finds the card of the machine and calls it $card.
const card = "card=$(ls /sys/class/net | grep -v lo); "

var (
	workerKilled = inside{"worker killed", "for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline | grep -q ^@spate-worker; then kill -9 ${p#/proc/} && echo killed; fi; done"}
	firewall     = inside{"firewall that drops everything", "nft 'add table inet closed; add chain inet closed in { type filter hook input priority 0; policy drop; }; " +
		"add chain inet closed out { type filter hook output priority 0; policy drop; }; add chain inet closed via { type filter hook forward priority 0; policy drop; }' && nft list ruleset | grep -c 'policy drop'"}
)

// insides are all of them. The last one is for good.
var insides = []inside{
	workerKilled,
	{"address changed", card + "old=$(ip -4 -o addr show dev $card | tr -s ' ' | cut -d' ' -f4); ip addr del $old dev $card; ip addr add 10.177.0.90/24 dev $card; ip -4 -o addr show dev $card"},
	{"interface renamed", card + "ip link set $card down; ip link set $card name renamed0; ip link set renamed0 up; ip addr replace 10.177.0.91/24 dev renamed0; ip -4 -o addr show dev renamed0"},
	{"addresses flushed", card + "ip addr flush dev $card; sleep 3; ip addr add 10.177.0.92/24 dev $card; ip -4 -o addr show dev $card"},
	{"card re-added", card + "pci=$(readlink -f /sys/class/net/$card/device/..); echo 1 > $pci/remove; sleep 1; echo 1 > /sys/bus/pci/rescan; sleep 1; " +
		card + "ip link set $card up; ip addr replace 10.177.0.93/24 dev $card; ip -4 -o addr show dev $card"},
	firewall,
}

// on makes the trouble. The machine must do what it was told, and afterwards read from a server a part of its disk that it has
// not read yet, and all that it remembers.
func (i inside) on(t *testing.T, m *vmlab.Guest, part int) {
	t.Helper()
	begin := time.Now()
	out := m.MustRun(i.line, 2*time.Minute)
	fresh(t, m, part)
	check(t, m)
	if out == "" {
		t.Error("nothing was done")
	}
	t.Logf("%s; everything read again after %v", strings.ReplaceAll(out, "\n", "; "), time.Since(begin).Round(time.Millisecond))
}
