//go:build system

package system

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/system/lab"
)

// A store whose folder goes away takes its server out of the choice until it is back. Sessions read on: they hold the
// file open.
func TestAStoreThatGoesAwayIsToldAndComesBack(t *testing.T) {
	f := startFarm(t, lab.Options{Servers: 2, Primary: 1})
	a, b := f.Servers[0], f.Servers[1]
	r := readAllTheTime(t, attach(t, f, "t1"))
	r.goesOn()
	ok(t, os.Rename(a.Store, a.Store+".away"))
	logged(t, a.Process, "the store is not there")
	r.goesOn()
	eventually(t, "the farm knows that the store is gone", func() bool { return !holds(t, b, a) })
	second := attach(t, f, "t2")
	if line := await(t, second.Process, " serves "); !strings.Contains(line, b.Name) {
		t.Errorf("a server without a store got a target: %s", line)
	}
	ok(t, os.Rename(a.Store+".away", a.Store))
	logged(t, a.Process, "the store is back")
	eventually(t, "the farm knows that the store is back", func() bool { return holds(t, b, a) })
	third := attach(t, f, "t3")
	if line := await(t, third.Process, " serves "); !strings.Contains(line, a.Name) {
		t.Errorf("the store is back, and its server is not chosen: %s", line)
	}
	r.goesOn()
}

// holds asks one server whether another one holds the vDisk.
func holds(t testing.TB, asked, other *lab.Server) bool {
	t.Helper()
	return slices.ContainsFunc(copies(t, asked), func(c farm.ReplicaInfo) bool { return c.Server == other.Name })
}

// A file system that fails in use, with open files and all, moves its targets to the other server; when it is
// mounted again it serves again.
func TestAFileSystemThatFailsInUseIsSurvived(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	need(t, "mke2fs", "e2fsprogs")
	file, err := image()
	ok(t, err)
	f := newFarm(t, lab.Options{Servers: 2, Primary: 1})
	a := f.Servers[0]
	disk := filepath.Join(f.Dir, "disk.img")
	sh(t, "mke2fs", "-q", "-t", "ext4", disk, "256M")
	ok(t, os.Remove(replicaFile(a)))
	sh(t, "mount", "-o", "loop", disk, a.Store)
	t.Cleanup(func() { _, _ = lab.Run(context.Background(), "umount", "-l", a.Store) })
	ok(t, lab.CopyTo(a.Store, file))
	sh(t, "sync", "-f", a.Store)
	sh(t, "cp", "--sparse=always", disk, disk+".repaired") // the kernel knows the old one as broken while anybody has a file of it open
	ok(t, f.Start(soon(t)))
	target := attach(t, f, "t1")
	r := readAllTheTime(t, target)
	if line := await(t, target.Process, " serves "); !strings.Contains(line, a.Name) {
		t.Fatalf("not served by the server whose disk is to fail: %s", line)
	}
	r.goesOn()
	ok(t, lab.ShutFileSystem(a.Store))
	r.goesOn()
	await(t, target.Process, "→ "+f.Servers[1].Name)
	logged(t, a.Process, "store cannot be read")
	logged(t, a.Process, "the store is not there")
	eventually(t, "the farm knows that the store is gone", func() bool { return !holds(t, f.Servers[1], a) })
	second := attach(t, f, "t2")
	if line := await(t, second.Process, " serves "); !strings.Contains(line, f.Servers[1].Name) {
		t.Errorf("a server whose disk has failed got a target: %s", line)
	}
	checkDisk(t, second, diskSize)
	sh(t, "umount", "-l", a.Store)
	logged(t, a.Process, "file gone")
	sh(t, "mount", "-o", "loop", disk+".repaired", a.Store)
	logged(t, a.Process, "vDisk found")
	eventually(t, "the farm knows that the store is back", func() bool { return holds(t, f.Servers[1], a) })
	third := attach(t, f, "t3")
	if line := await(t, third.Process, " serves "); !strings.Contains(line, a.Name) {
		t.Errorf("the disk is back, and its server is not chosen: %s", line)
	}
	f.Servers[1].Kill()
	r.goesOn()
}
