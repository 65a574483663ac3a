//go:build timed

package system

import (
	"os"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

const (
	readyWithin = time.Second
	// readyRoom is by how much a machine that is busy with other things may miss it.
	readyRoom = 5
)

// within fails the test when something took too long; in CI, which shares its machine, when it took much too long.
func within(t testing.TB, what string, took time.Duration) {
	t.Helper()
	bound := readyWithin
	if os.Getenv("CI") == "true" {
		bound *= readyRoom
	}
	t.Logf("%s after %s", what, took.Round(time.Millisecond))
	if took > bound {
		t.Errorf("%s after %s, not within %s", what, took, bound)
	}
}

// `spated --store` serves within a second of its start.
func TestAFolderIsServedWithinASecond(t *testing.T) {
	store := storeWithDisk(t)
	for range 3 {
		began := time.Now()
		p := folderServer(t, store)
		await(t, p, "ready")
		within(t, "ready", time.Since(began))
	}
}

// A vDisk is offered within a second of its appearance in the folder.
func TestAVDiskIsShownWithinASecond(t *testing.T) {
	file, err := image()
	ok(t, err)
	store := folder(t)
	p := folderServer(t, store)
	await(t, p, "ready")
	ok(t, lab.CopyTo(store, file))
	began := time.Now() // the copy has its name
	await(t, p, "spate-target attach")
	within(t, "shown", time.Since(began))
}
