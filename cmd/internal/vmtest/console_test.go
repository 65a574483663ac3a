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
	return &Machine{Console: NewConsole()}
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
				m.write([]byte(line + "\r\n"))
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

// A kernel's log is judged like a console, also what it says at levels that its console does not show.
func TestTheComplaintsOfAKernelAreFoundInItsLog(t *testing.T) {
	const good = `[    1.2] EXT4-fs (nbd0): mounted filesystem with ordered data mode. Quota mode: none.
[    1.3] block nbd0: Receive control failed (result -32)
[    2.0] oom-kill: Out of memory: Killed process 412 (tail)
[    2.1] acpi PNP0A03:00: fail to add MMCONFIG information, can't access extended PCI configuration space.`
	if all := Complaints(good); all != nil {
		t.Errorf("complaints are %q", all)
	}
	for _, bad := range []string{
		"blk_update_request: I/O error, dev nbd0, sector 8 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2",
		"timeout error, dev nbd0, sector 8 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
		"critical space allocation error, dev nbd0, sector 8 op 0x1:(WRITE) flags 0x0 phys_seg 1 prio class 2",
		"Buffer I/O error on dev nbd0, logical block 1, lost async page write",
		"JBD2: Detected IO errors while flushing file data on nbd0-8",
		"EXT4-fs (nbd0): failed to convert unwritten extents to written extents -- potential data loss!",
		"EXT4-fs warning (device nbd0): ext4_end_bio:343: ",
		"EXT4-fs (nbd0): Remounting filesystem read-only",
		"INFO: task kworker/u2:1:21 blocked for more than 120 seconds.",
	} {
		if all := Complaints(good + "\n[    9.9] " + bad + "\n"); len(all) != 1 || !strings.HasSuffix(all[0], bad) {
			t.Errorf("%q: complaints are %q", bad, all)
		}
	}
}

// Who waits is told of what comes while it waits, and of the end of its patience.
func TestWaitingForAMachineEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fake()
		time.AfterFunc(time.Second, func() { m.write([]byte("MARK round 1 up=1\n")) })
		time.AfterFunc(2*time.Second, func() { m.write([]byte("MARK round 2 up=2\n")) })
		if mark, err := m.AwaitMark(t.Context(), "round 2 "); err != nil || mark != "round 2 up=2" || m.Rounds() != 2 || m.Uptime() != 2*time.Second {
			t.Errorf("%q, %v after %d rounds and %v", mark, err, m.Rounds(), m.Uptime())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := m.AwaitProblem(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no complaint: %v", err)
		}
		m.write([]byte("BUG: unable to handle page fault\n"))
		if p, err := m.AwaitProblem(t.Context()); err != nil || !strings.HasPrefix(p, "BUG:") {
			t.Errorf("%q, %v", p, err)
		}
	})
}

// What firmware paints with escape codes and what waits for an answer without an end of line can be waited for too, and a
// line is told with the time that passed since power-on.
func TestWhatAConsoleSaysIsFoundWithoutItsEscapeCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewConsole()
		time.Sleep(time.Second)
		c.write([]byte("\x1b[2J\x1b[1;1HiPX"))
		c.write([]byte("\x1b[0"))
		c.write([]byte("mE 1.0.0\r\nnetbooted \x1b]0;title\alogin: "))
		if line, next, err := c.AwaitLine(t.Context(), 0, "iPXE 1"); err != nil || line.At != time.Second || line.Text != "iPXE 1.0.0" || next != 1 {
			t.Errorf("%+v %d %v", line, next, err)
		}
		if line, next, err := c.AwaitLine(t.Context(), 1, "login:"); err != nil || line.Text != "netbooted login: " || next != 1 {
			t.Errorf("%+v %d %v", line, next, err)
		}
	})
}
