//go:build system

package system

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/testdisk"
)

// empty fails the test when something lies in a folder.
func empty(t testing.TB, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	ok(t, err)
	for _, f := range files {
		if f.Name() != "lost+found" {
			t.Errorf("%s was left behind", f.Name())
		}
	}
}

// An import that fills the disk fails with a sentence, and nothing is left behind.
func TestAnImportThatFillsTheDiskLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	store := folder(t)
	sh(t, "mount", "-t", "tmpfs", "-o", "size=4m", "spate-test", store)
	t.Cleanup(func() { _, _ = lab.Run(context.Background(), "umount", store) })
	cmd := exec.CommandContext(soon(t), program("spate"), "vdisk", "import", "-", "--into", store, "--name", "big")
	cmd.Stdin = testdisk.Reader(64 << 20)
	out, err := cmd.CombinedOutput()
	var status *exec.ExitError
	if !errors.As(err, &status) || !strings.Contains(string(out), "space") {
		t.Errorf("%v:\n%s", err, out)
	}
	empty(t, store)
}

// An import that is interrupted leaves nothing, and one that is killed leaves nothing that a server would serve or that
// stands in the way of the next.
func TestAnImportThatIsEndedLeavesNothing(t *testing.T) {
	store := folder(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		cmd := exec.CommandContext(soon(t), program("spate"), "vdisk", "import", "-", "--into", store, "--name", "slow")
		in, err := cmd.StdinPipe()
		ok(t, err)
		ok(t, cmd.Start())
		// More than fits into the pipe, so that it has begun; the end never comes.
		_, err = io.Copy(in, testdisk.Reader(8<<20))
		ok(t, err)
		ok(t, cmd.Process.Signal(signal))
		for err == nil { // until nobody reads any more
			_, err = in.Write(make([]byte, 64<<10))
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("%v: the import ended well", signal)
		}
		if signal == syscall.SIGINT {
			empty(t, store)
		}
		if list := sh(t, program("spate"), "vdisk", "list", "--store", store); strings.Contains(list, "slow") {
			t.Errorf("%v: something is listed:\n%s", signal, list)
		}
	}
	image := filepath.Join(folder(t), "disk.img")
	writeImage(t, image, 1<<20)
	sh(t, program("spate"), "vdisk", "import", image, "--into", store, "--name", "slow")
	files, err := os.ReadDir(store)
	ok(t, err)
	if len(files) != 1 {
		t.Errorf("beside the vDisk lie: %v", files)
	}
}

// An import while a server serves the store is offered when it is whole, and not before.
func TestAnImportIntoAServedStoreIsOfferedWhenItIsWhole(t *testing.T) {
	store := folder(t)
	p := folderServer(t, store)
	await(t, p, "ready")
	cmd := exec.CommandContext(soon(t), program("spate"), "vdisk", "import", "-", "--into", store, "--name", "new")
	in, err := cmd.StdinPipe()
	ok(t, err)
	ok(t, cmd.Start())
	_, err = io.Copy(in, testdisk.Reader(8<<20))
	ok(t, err)
	_, err = lab.MakeStore(soon(t), store, "other", 1<<20)
	ok(t, err)
	await(t, p, "--vdisk other") // so it has looked at the store since
	if strings.Contains(p.Out.String(), "new") {
		t.Errorf("half a vDisk is told:\n%s", p.Out)
	}
	ok(t, in.Close())
	ok(t, cmd.Wait())
	checkDisk(t, attachByLine(t, await(t, p, "--vdisk new")), 8<<20)
}
