package vmtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a machine without QEMU: a console that the test writes.
func fake() *Machine {
	return &Machine{started: time.Now(), exited: make(chan struct{}), changed: make(chan struct{})}
}

// A machine is judged by its console: marks are found anywhere in a line, a kernel that complains about its disk is
// trouble, and so is an end before the mark that is waited for.
func TestAMachineIsJudgedByItsConsole(t *testing.T) {
	for _, c := range []struct {
		name, console string
		err           string // empty: the machine is done, and all is well
	}{
		{"well", "\x1b[2J\x1b[0mMARK init up=1.2\nMARK round 1 up=2.3\nMARK done rounds=1 bad=0 up=3.4\n[ 3.5] reboot: Power down", ""},
		{"bad bytes", "MARK init up=1.2\nMARK bad round 1 compare up=2\nMARK done rounds=1 bad=1 up=3", "MARK bad round 1 compare"},
		{"bad number", "MARK done rounds=1 bad=1 up=3", `"done rounds=1 bad=1 up=3"`},
		{"late trouble", "MARK done rounds=1 bad=0 up=3.4\n[ 3.5] I/O error, dev vda, sector 8 op 0x0:(READ)", "I/O error, dev vda"},
		{"trouble", "[ 2.0] EXT4-fs error (device vda): bad block", "EXT4-fs error"},
		{"panic", "[ 2.0] Kernel panic - not syncing: Attempted to kill init!", "Kernel panic"},
		{"no start", "qemu-system-x86_64: -drive file=nbd:unix:/x: Failed to connect", "Failed to connect"},
		{"end", "MARK init up=1.2", "ended before MARK done"},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := fake()
			ended := make(chan error)
			go func() { ended <- m.AwaitDone(t.Context()) }() // ends with the machine
			for line := range strings.SplitSeq(c.console, "\n") {
				m.line(line)
				synctest.Wait()
			}
			select {
			case err := <-ended: // it has seen enough
				go func() { ended <- err }()
			default:
			}
			close(m.exited)
			err := <-ended
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
		})
	}
}

// Who waits is told of what comes while it waits, and of the end of its patience.
func TestWaitingForAMachineEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fake()
		time.AfterFunc(time.Second, func() { m.line("MARK round 1 up=1") })
		time.AfterFunc(2*time.Second, func() { m.line("MARK round 2 up=2") })
		if mark, err := m.AwaitMark(t.Context(), "round 2 "); err != nil || mark != "round 2 up=2" || m.Rounds() != 2 || m.Uptime() != 2*time.Second {
			t.Errorf("%q, %v after %d rounds and %v", mark, err, m.Rounds(), m.Uptime())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := m.AwaitProblem(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no complaint: %v", err)
		}
		m.line("BUG: unable to handle page fault")
		if p, err := m.AwaitProblem(t.Context()); err != nil || !strings.HasPrefix(p, "BUG:") {
			t.Errorf("%q, %v", p, err)
		}
	})
}
