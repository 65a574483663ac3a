//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// What `make run-vm FOR=…` shows without a terminal: the machine boots, outlives a server that is stopped, one that is killed
// and one that is frozen, and the program says so, ends well and leaves nothing behind.
func TestTheDemonstrationEndsWellAndLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*toSystem)
	defer cancel()
	cmd, temp := demonstration(ctx, t)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`boots +1\n`, `failovers +[3-9]`, `I/O errors +0; the kernel complained 0 times`, `read +[0-9]{3,} blocks .* 0 wrong`,
		`is stopped: `, `is killed: `, `is frozen: `, `login:`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("it does not say %q", want)
		}
	}
	if t.Failed() {
		t.Logf("it says:\n%s", out)
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Error(err)
	}
	for _, f := range left {
		if !strings.HasSuffix(f.Name(), ".lock") { // the places of machines on a computer (package vmtest) are kept
			t.Errorf("it leaves %s", f.Name())
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, 0); err == nil {
		t.Error("some of its processes live")
	}
}

// Killed without a word it leaves no process either, in whatever namespace.
func TestAKilledDemonstrationLeavesNoProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), toSystem)
	defer cancel()
	cmd, temp := demonstration(ctx, t)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.Contains(lines.Text(), "Spate: "); {
	}
	if n := len(living(t, temp)); n < 3 { // servers and capture
		t.Fatalf("%d processes are there; the test looks for the wrong ones", n)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed, which it says
	for len(living(t, temp)) > 0 {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("these live on: %q", living(t, temp))
		}
	}
}

// living are the command lines of all processes that work in a folder.
func living(t *testing.T, dir string) (list []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(line), dir) { // a process that has ended is none
			list = append(list, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}

// demonstration is the program, and the folder in which it makes its temporary files.
func demonstration(ctx context.Context, t *testing.T) (cmd *exec.Cmd, temp string) {
	t.Helper()
	vmlab.Need(t)
	m, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "vmdemo")
	if _, err := lab.Run(t.Context(), "go", "build", "-o", program, "../vmdemo"); err != nil {
		t.Fatal(err)
	}
	temp = filepath.Join(dir, "tmp")
	if err := os.Mkdir(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(ctx, program, "-bin", m.bin, "-dir", filepath.Join(dir, "run"), "-for", "24s", "-every", "6s")
	// In a network namespace of its own, as when a person runs it: one that is killed removes no bridge from ours.
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, vmlab.InsideVariable+"=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Minute
	return cmd, temp
}
