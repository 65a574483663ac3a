//go:build system

package vmtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/vdisk"
)

// vdiskName is what the machine's disk is called in a farm.
const vdiskName = "debian"

// newFarm starts a farm of two servers, real processes: the machine's disk is imported into the store of the first one and
// copied into that of the second one.
func newFarm(ctx context.Context, t testing.TB) *lab.Farm {
	t.Helper()
	files := Fixture(t)
	dir, err := os.MkdirTemp("", "vm") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "bin")
	must(os.Mkdir(bin, 0o755))
	must(lab.Programs(ctx, bin))
	f, err := lab.NewFarm(lab.Options{Dir: dir, Bin: bin, Servers: 2, VDisk: vdiskName})
	must(err)
	first, second := f.Servers[0], f.Servers[1]
	out, err := lab.Run(ctx, filepath.Join(bin, "spate"), "vdisk", "import", files.Root, "--into", first.Store, "--name", vdiskName)
	must(err)
	t.Log(lastLine(out))
	must(lab.CopyTo(second.Store, filepath.Join(first.Store, vdisk.FileName(vdiskName, 0))))
	t.Cleanup(func() {
		for _, s := range f.Servers {
			if s.Process != nil && t.Failed() {
				t.Logf("%s said:\n%s%s", s.Name, s.Out, s.Log)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	must(f.Start(ctx))
	return f
}

// attach attaches the machine's disk with a write cache until the test ends.
func attach(ctx context.Context, t testing.TB, f *lab.Farm) *lab.Target {
	t.Helper()
	target, err := f.Attach(ctx, "target", "--mac", "02:00:00:00:00:01", "--write-cache", "ram:512M")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("spate-target said:\n%s%s", target.Out, target.Log)
		}
		if err := target.End(); err != nil {
			t.Error(err)
		}
	})
	return target
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
