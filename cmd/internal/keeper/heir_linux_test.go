package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/bootline"
)

// orphan is what the worker of the test below is told to be; its device is a pipe on which it tells what it is.
const orphan = "orphan"

// orphanedWorker outlives its keeper, starts another one, and dies; in its second life it tells what it has found.
func orphanedWorker(p *Post) error {
	var s scripted
	if p.State != nil {
		if err := json.Unmarshal(p.State, &s); err != nil {
			return err
		}
	}
	s.Lives++
	e, err := p.Next(context.Background())
	if err != nil {
		return err
	}
	out, err := os.OpenFile(p.Config.Line.Device, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	data := make([]byte, 8)
	n, _ := p.Data.ReadAt(data, 0)
	if _, err := p.Data.WriteAt([]byte("written"), 0); err != nil {
		return err
	}
	if err := p.Keep(s); err != nil {
		return err
	}
	// The test kills the keeper when it has read this.
	if _, err := fmt.Fprintf(out, "%d %d life=%d seen=%v data=%q stage=%s at=%v\n", os.Getpid(), os.Getppid(), s.Lives, s.Seen, data[:n], e.Stage, e.At); err != nil {
		return err
	}
	if s.Lives > 1 {
		_, err = p.Next(context.Background())
		return err // the test has killed the second keeper
	}
	if _, err := p.Next(context.Background()); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the keeper is not dead: %w", err)
	}
	if err := p.NewKeeper(); err != nil {
		return err
	}
	s.Seen = append(s.Seen, "another")
	if err := p.Keep(s); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// A worker whose keeper was killed starts another one, which knows what the first one knew and what came later: when that worker
// dies too, another one goes on.
func TestAWorkerStartsAKeeperInPlaceOfADeadOne(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a mount namespace of its own needs root")
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // orphans are ours, as they are PID 1's on a machine
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/run", "spate-test-") // which the enclosure has
	if err != nil {
		t.Skip("needs a /run that can be written: ", err)
	}
	defer os.RemoveAll(dir)
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.OpenFile(pipe, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := in.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	k, err := Start(Config{Line: bootline.Line{VDisk: orphan, Device: pipe}, Program: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	defer os.Remove(enclosure)
	defer os.Remove(omitFile)
	if err := k.Tell(InitRuns, time.Second); err != nil {
		t.Fatal(err)
	}
	first, said := hearOrphan(t, in)
	if first.keeper != k.PID() || said != `life=1 seen=[] data="" stage=init at=1s` {
		t.Errorf("the first worker, of keeper %d: %+v %s", k.PID(), first, said)
	}
	end(t, k.PID())
	second, said := hearOrphan(t, in)
	if second.keeper == k.PID() || second.worker == first.worker || said != `life=2 seen=[another] data="written" stage=init at=1s` {
		t.Errorf("the second worker: %+v %s", second, said)
	}
	spared, err := os.ReadFile(omitFile)
	if want := fmt.Sprintf("%d\n%d\n", second.keeper, second.worker); err != nil || string(spared) != want {
		t.Errorf("%s has %q, not %q (%v)", omitFile, spared, want, err)
	}
	end(t, second.keeper)
	for _, pid := range []int{first.worker, second.worker} { // one has killed itself; the other ends without a keeper
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
			t.Errorf("worker %d: %v", pid, err)
		}
	}
}

type family struct{ worker, keeper int }

func hearOrphan(t *testing.T, in io.Reader) (f family, said string) {
	t.Helper()
	b := make([]byte, 256)
	n, err := in.Read(b) // a line is written at once
	if err != nil {
		t.Fatal(err)
	}
	said = strings.TrimSpace(string(b[:n]))
	if _, err := fmt.Sscanf(said, "%d %d", &f.worker, &f.keeper); err != nil {
		t.Fatalf("%q: %v", said, err)
	}
	return f, strings.TrimPrefix(said, fmt.Sprintf("%d %d ", f.worker, f.keeper))
}

// end kills a keeper, which is ours.
func end(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		t.Error(err)
	}
}

// A worker may tell a stage again, as often as it takes its device up again: another keeper is told when it was reached first.
func TestAStageThatIsToldAgainIsNotedOnce(t *testing.T) {
	p := &Post{}
	for at := range time.Duration(3) {
		p.note(Event{Kind: Reached, Stage: Attached, At: 1 + at})
		p.note(Event{Kind: Line, Text: "no stage"})
	}
	p.note(Event{Kind: Reached, Stage: SystemRuns, At: 9})
	if len(p.stages) != 2 || p.stages[0].At != 1 || p.stages[1].Stage != SystemRuns {
		t.Errorf("noted are %+v", p.stages)
	}
}
