//go:build e2e || system

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/vmlab"
	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// scratch is a folder for what all tests share; TestMain removes it.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	status := vmlab.Main(m)
	os.RemoveAll(dir)
	os.Exit(status)
}

// made are the programs, and the sealed vDisk that all farms serve.
type made struct{ bin, disk string }

// build builds the programs of this work tree and the vDisk once.
var build = sync.OnceValues(func() (made, error) {
	ctx := context.Background()
	m := made{bin: filepath.Join(scratch, "bin")}
	system, err := vmtest.PrepareSystem(ctx)
	if err != nil {
		return m, err
	}
	if err := os.Mkdir(m.bin, 0o755); err != nil {
		return m, err
	}
	if err := lab.Programs(ctx, m.bin); err != nil {
		return m, err
	}
	m.disk, err = vmlab.MakeDisk(ctx, m.bin, filepath.Join(scratch, "disk"), system, vmlab.CommandLine)
	return m, err
})

// withFarm makes a network with a farm of two servers that are ready. Machines listen to commands.
func withFarm(t *testing.T, o vmlab.FarmOptions) (*vmlab.Lab, *vmlab.Farm) {
	t.Helper()
	l := vmlab.New(t)
	return l, addFarm(t, l, o)
}

// addFarm makes a farm on a network.
func addFarm(t *testing.T, l *vmlab.Lab, o vmlab.FarmOptions) *vmlab.Farm {
	t.Helper()
	m, err := build()
	if err != nil {
		t.Fatal(err)
	}
	o.Bin, o.Disk = m.bin, m.disk
	o.CommandLine = strings.TrimSpace(o.CommandLine + " spate.test=agent")
	return l.Farm(o)
}

// settles waits until the system works, which it does without a failed unit and without trouble.
func settles(t *testing.T, g *vmlab.Guest) {
	t.Helper()
	g.WaitMark("multi-user ", toSystem)
	if l := g.WaitMark("settled ", toSystem); !strings.Contains(l.Text, "state=running failed=[]") {
		t.Errorf("%s: %s", g.Name, l.Text)
	}
	healthy(t, g)
}

// healthy fails the test when a machine has complained of its disk, on its console, or in its kernel's log: warnings are only there.
func healthy(t *testing.T, g *vmlab.Guest) {
	t.Helper()
	g.Healthy()
	if bad := vmtest.Complaints(g.MustRun("dmesg --level=emerg,alert,crit,err,warn", seconds)); bad != nil {
		t.Errorf("%s: the kernel's log says:\n%s", g.Name, strings.Join(bad, "\n"))
	}
}

// powersOff shuts a machine down, which it does cleanly, and without having complained of its disk.
func powersOff(t *testing.T, g *vmlab.Guest) {
	t.Helper()
	g.MustRun("systemctl --no-block poweroff", seconds)
	g.WaitLine("reboot: Power down", g.Uptime()+toSystem)
	g.WaitEnd(g.Uptime() + toSystem)
}
