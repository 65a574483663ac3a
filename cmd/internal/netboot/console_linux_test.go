package netboot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A serial line whose other end takes nothing, by flow control, costs the boot a moment once and not for each line; when it takes
// lines again it gets them.
func TestAConsoleThatIsStuckDoesNotHoldUpTheBoot(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reader, writer := os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "writer")
	defer reader.Close()
	defer writer.Close()
	c := &console{outs: []output{{file: writer}}}
	begin := time.Now()
	for range 1 << 10 { // more than a pipe holds
		c.line(strings.Repeat("x", 90))
		if c.outs[0].stuck {
			break
		}
	}
	for range 20 {
		c.line("lost")
	}
	if took := time.Since(begin); !c.outs[0].stuck || took > 5*consolePatience {
		t.Errorf("stuck is %v, and 20 lines took %v", c.outs[0].stuck, took)
	}
	b := make([]byte, 1<<20)
	if _, err := reader.Read(b); err != nil {
		t.Fatal(err)
	}
	c.line("found")
	n, err := reader.Read(b)
	if err != nil || !strings.HasSuffix(string(b[:n]), "found\n") || c.outs[0].stuck {
		t.Errorf("%q %v", b[:n], err)
	}
}

// A root that has no place for what must be there is refused as long as everything is where it was.
func TestARootWithoutAPlaceForTheEarlyMountsIsRefused(t *testing.T) {
	root := t.TempDir()
	if err := makePlaces(root); err != nil {
		t.Fatal(err)
	}
	if err := makePlaces(root); err != nil {
		t.Errorf("they are there: %v", err)
	}
	run := filepath.Join(root, "run")
	if err := os.Remove(run); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(run, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makePlaces(root); err == nil || !strings.Contains(err.Error(), "/run") {
		t.Errorf("a file is no place: %v", err)
	}
}
