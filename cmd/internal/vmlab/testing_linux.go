package vmlab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// packetsShown is how many packets a failed test shows.
const packetsShown = 60

// Need skips the test when something is missing that the lab takes, and names the Debian package.
func Need(t testing.TB) {
	t.Helper()
	if err := Missing(); err != nil {
		t.Skip(err)
	}
}

// System is vmtest.PrepareSystem for a test. Tests that cannot have it skip.
func System(t testing.TB) vmtest.System {
	t.Helper()
	Need(t)
	s, err := vmtest.PrepareSystem(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Lab is a network of a test, which ends with it. When the test has failed, it shows the ends of all consoles, what the servers
// have said, and the packets by which machines found their way.
type Lab struct {
	*Network
	t testing.TB
}

// New makes a network for a test.
func New(t testing.TB) *Lab {
	t.Helper()
	Need(t)
	dir, err := os.MkdirTemp("", "vmlab") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNetwork(dir)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last packets of booting:\n%s", n.Packets(packetsShown))
			for _, m := range n.machines {
				t.Logf("the end of the console of %s:\n%s", m.Name, m.Tail())
			}
		}
		n.keep(t, os.Getenv("VMLAB_KEEP"))
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Lab{n, t}
}

// For is the same network for a test within the test.
func (l *Lab) For(t testing.TB) *Lab { return &Lab{l.Network, t} }

// keep keeps whole consoles and the packets of a test for the person who names a folder for them in VMLAB_KEEP.
func (n *Network) keep(t testing.TB, dir string) {
	if dir == "" {
		return
	}
	for _, m := range n.machines {
		if err := os.WriteFile(filepath.Join(dir, m.Name+".console"), []byte(m.All()), 0o644); err != nil {
			t.Log(err)
		}
	}
	if packets, err := os.ReadFile(n.captureFile()); err == nil {
		if err := os.WriteFile(filepath.Join(dir, "boot.pcap"), packets, 0o644); err != nil {
			t.Log(err)
		}
	}
}

// Guest is a machine of a test, which fails when something is not as it waits for.
type Guest struct {
	*Machine
	t testing.TB
}

// Boot switches a machine on.
func (l *Lab) Boot(h Hardware) *Guest {
	l.t.Helper()
	m, err := l.Network.Boot(l.t.Context(), h)
	if err != nil {
		l.t.Fatal(err)
	}
	return &Guest{m, l.t}
}

// BootOn switches a machine on at a cable that is there.
func (l *Lab) BootOn(tap *Tap, h Hardware) *Guest {
	l.t.Helper()
	m, err := l.Network.BootOn(l.t.Context(), tap, h)
	if err != nil {
		l.t.Fatal(err)
	}
	return &Guest{m, l.t}
}

// Within is a context of the test that ends after a while.
func Within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("it took longer than %v", d))
	t.Cleanup(cancel)
	return ctx
}

// WaitMark waits for a mark that begins with prefix, at most until so long after power-on.
func (g *Guest) WaitMark(prefix string, limit time.Duration) vmtest.Line {
	g.t.Helper()
	l, err := g.MarkAt(Within(g.t, limit-g.Uptime()), prefix)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Logf("%s: %s after %.1f s", g.Name, l.Text, l.At.Seconds())
	return l
}

// WaitLine waits for a line that holds what, at most until so long after power-on.
func (g *Guest) WaitLine(what string, limit time.Duration) vmtest.Line {
	g.t.Helper()
	l, _, err := g.AwaitLine(Within(g.t, limit-g.Uptime()), 0, what)
	if err != nil {
		g.t.Fatal(err)
	}
	return l
}

// WaitEnd waits until the machine is off, at most until so long after power-on; it must not have complained of its disk.
func (g *Guest) WaitEnd(limit time.Duration) {
	g.t.Helper()
	if err := g.AwaitEnd(Within(g.t, limit-g.Uptime())); err != nil {
		g.t.Fatal(err)
	}
	g.Healthy()
	g.t.Logf("%s: off after %.1f s", g.Name, g.Uptime().Seconds())
}

// Healthy fails the test when the machine has complained of its disk.
func (g *Guest) Healthy() {
	g.t.Helper()
	if err := g.Trouble(); err != nil {
		g.t.Error(err)
	}
}

// MustRun has a command line run in the system; it must end well within a while.
func (g *Guest) MustRun(line string, within time.Duration) string {
	g.t.Helper()
	out, err := g.Run(Within(g.t, within), line)
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

// Farm makes a farm and starts it. It ends with the test.
func (l *Lab) Farm(o FarmOptions) *Farm {
	l.t.Helper()
	f, err := l.Network.Farm(o)
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Log(f.Said())
		}
		if err := f.Close(); err != nil {
			l.t.Error(err)
		}
	})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := f.Start(Within(l.t, farmPatience)); err != nil {
		l.t.Fatal(err)
	}
	return f
}

// farmPatience is how long the servers may take to be ready.
const farmPatience = 30 * time.Second

// For is the same machine for a test within the test.
func (g *Guest) For(t testing.TB) *Guest { return &Guest{g.Machine, t} }

// DHCP starts somebody else's DHCP server; it ends with the test.
func (l *Lab) DHCP(more ...string) {
	l.t.Helper()
	link, err := l.Plug()
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := l.Network.DHCP(link, more...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := p.End(); err != nil {
			l.t.Error(err)
		}
		if l.t.Failed() {
			l.t.Logf("dnsmasq said:\n%s", p.Log)
		}
	})
}
