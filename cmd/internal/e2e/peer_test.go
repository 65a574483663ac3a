//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// servePeer starts the servers of the boot by NBD; they end with the test.
func servePeer(t *testing.T, l *vmlab.Lab, commandLine string) {
	t.Helper()
	p, err := l.Peer(vmlab.System(t), commandLine)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Said())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The chain that Spate is compared with works as it should: what is measured against it is measured against something.
func TestThePeerBootsToAWorkingSystem(t *testing.T) {
	l := vmlab.New(t)
	servePeer(t, l, vmlab.CommandLine+" spate.test=agent")
	m := l.Boot(vmlab.Hardware{})
	m.WaitMark("initramfs", toInit)
	m.WaitMark("init ", toInit)
	m.WaitMark("multi-user", toSystem)
	if l := m.WaitMark("settled", toSystem); !strings.Contains(l.Text, "state=running failed=[]") {
		t.Error(l.Text)
	}
	n, err := m.Tap.Count()
	t.Logf("%+v, %v", n, err)
	if n.BytesToMachine < 30<<20 || n.PacketsToMachine < n.BytesToMachine/1600 {
		t.Errorf("the cable carried %+v", n)
	}
	if out := m.MustRun("findmnt -no FSTYPE /", seconds); out != "overlay" {
		t.Errorf("the root is %q", out)
	}
}
