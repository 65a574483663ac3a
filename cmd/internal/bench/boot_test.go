//go:build bench

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// TestRecordBoot is run by the benchmark itself: it boots a virtual machine from nbdkit, which logs each read.
func TestRecordBoot(t *testing.T) {
	to := os.Getenv(traceVariable)
	if to == "" {
		t.Skip("records a boot for the benchmark; run: make bench")
	}
	files := vmtest.Fixture(t)
	dir := t.TempDir()
	socket, log := filepath.Join(dir, "disk.sock"), filepath.Join(dir, "log")
	c, err := start("", "nbdkit", "-f", "-U", socket, "--filter=log", "--filter=cow", "file", files.Root, "logfile="+log)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.wait(t.Context(), "listening", func() bool { return present(socket) }); err != nil {
		t.Fatal(err)
	}
	m := vmtest.Boot(t, socket, vmtest.Options{Rounds: 1})
	m.WaitDone(5 * time.Minute)
	c.close()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	recorded, err := parseTrace(f)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(files.Root)
	if err != nil {
		t.Fatal(err)
	}
	recorded.Image, recorded.Size = files.Root, info.Size()
	if err := recorded.save(to); err != nil {
		t.Fatal(err)
	}
}
