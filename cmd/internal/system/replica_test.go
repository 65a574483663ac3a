//go:build system

package system

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

// explainText asks the console why a device gets the server it gets.
func explainText(t testing.TB, s *lab.Server, device string) string {
	t.Helper()
	out, err := s.Spate(soon(t), "explain", device)
	ok(t, err)
	return out
}

// The same image imported twice is the same content with two timestamps, and these are no replicas of one another: one
// server alone serves, explain says why, and the other one is never taken, not even when nobody else is left. Once its
// copy was adopted, it is.
func TestCopiesWithAnotherTimestampAreNotServedUntilTheyAreAdopted(t *testing.T) {
	const device = "02:00:00:00:00:01"
	f := emptyFarm(t, lab.Options{Servers: 2, Devices: []string{device}})
	raw := filepath.Join(f.Dir, "disk.raw")
	writeImage(t, raw, diskSize)
	for _, s := range f.Servers {
		sh(t, program("spate"), "vdisk", "import", raw, "--into", s.Store, "--name", f.VDisk)
	}
	ok(t, f.Start(soon(t)))
	target := attach(t, f, "t1", "--mac", device)
	before, err := target.Status(soon(t))
	ok(t, err)
	serving, other := f.Server(before.Server), f.Servers[0]
	if other == serving {
		other = f.Servers[1]
	}
	if said := explainText(t, serving, device); !strings.Contains(said, "timestamp") {
		t.Errorf("explain does not say why %s is not taken:\n%s", other.Name, said)
	}
	r := readAllTheTime(t, target)
	r.goesOn()
	serving.Kill()
	await(t, target.Process, "no server serves this target")
	if s, err := target.Status(soon(t)); err != nil || s.Serving {
		t.Errorf("served by another content: %+v, %v", s, err)
	}

	sh(t, program("spate"), "vdisk", "adopt", f.VDisk, "--store", other.Store, "--like", replicaFile(serving))
	r.goesOn()
	if s, err := target.Status(soon(t)); err != nil || s.Server != other.Name || s.Errors > 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	ok(t, serving.Start())
	_, err = serving.Await(soon(t), "ready")
	ok(t, err)
	eventually(t, "explain finds nothing wrong", func() bool { return !strings.Contains(explainText(t, other, device), "timestamp") })
	r.goesOn()
}
