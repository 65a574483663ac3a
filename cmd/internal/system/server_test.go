//go:build system || timed

package system

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/testdisk"
)

// folderServer starts spated on a folder, without a farm file.
func folderServer(t testing.TB, store string, flags ...string) *lab.Process {
	t.Helper()
	return start(t, folderSpawn(t, store, flags...))
}

func folderSpawn(t testing.TB, store string, flags ...string) lab.Spawn {
	t.Helper()
	port, err := lab.FreePort()
	ok(t, err)
	args := []string{program("spated"), "--store", store, "--listen", fmt.Sprintf("127.0.0.1:%d", port)}
	if !slices.Contains(flags, "--state") {
		args = append(args, "--state", folder(t))
	}
	return lab.Spawn{Name: "spated", Args: append(args, flags...)}
}

// storeWithDisk is a folder with the vDisk that all tests use.
func storeWithDisk(t testing.TB) string {
	t.Helper()
	file, err := image()
	ok(t, err)
	dir := folder(t)
	ok(t, lab.CopyTo(dir, file))
	return dir
}

// attachByLine runs the line that spated printed, with a socket of our own.
func attachByLine(t testing.TB, line string) *lab.Target {
	t.Helper()
	args := strings.Fields(line)
	if len(args) < 4 || args[0] != "spate-target" || args[len(args)-2] != "--nbd-socket" {
		t.Fatalf("not a line that attaches: %q", line)
	}
	dir := folder(t)
	target := &lab.Target{Socket: filepath.Join(dir, "s")}
	args[0], args[len(args)-1] = program("spate-target"), target.Socket
	target.Process = start(t, lab.Spawn{Name: "target", Args: args, Env: []string{agent.FolderVariable + "=" + dir}})
	await(t, target.Process, "attached: ")
	return target
}

// checkDisk reads the whole disk of a target.
func checkDisk(t testing.TB, target *lab.Target, size int64) {
	t.Helper()
	d := open(t, target)
	if d.Size() != size {
		t.Fatalf("the disk has %d bytes, not %d", d.Size(), size)
	}
	var check testdisk.Checker
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), size-off)]
		ok(t, d.ReadAt(t.Context(), p, off))
		if n := check.Wrong(p, off); n > 0 {
			t.Fatalf("%d wrong blocks at %d", n, off)
		}
	}
}
