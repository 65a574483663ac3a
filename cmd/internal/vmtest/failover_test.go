//go:build system

package vmtest

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/system/lab"
)

const (
	// frozenFor is the least time for which a server is frozen.
	frozenFor = 2 * time.Second
	// statusPoll is how often the status is asked for something to show in it.
	statusPoll = 100 * time.Millisecond
	// roundsAfter is how many rounds of work the machine does after each trouble: what was cut off by it and a whole one.
	roundsAfter = 2
)

// streamed is a machine whose disk comes from a farm.
type streamed struct {
	t       *testing.T
	ctx     context.Context
	farm    *lab.Farm
	target  *lab.Target
	machine *Guest
	moves   int // that the target had told before the last trouble
}

// status is what `spate-target status --json` tells.
func (s *streamed) status() agent.Status {
	s.t.Helper()
	st, err := s.target.Status(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// waitStatus asks for the status until it is as wanted.
func (s *streamed) waitStatus(what string, good func(agent.Status) bool) agent.Status {
	s.t.Helper()
	for {
		st := s.status()
		if good(st) {
			return st
		}
		select {
		case <-time.After(statusPoll):
		case <-s.ctx.Done():
			s.t.Fatalf("the status does not show %s: %+v", what, st)
		}
	}
}

// serving waits until one server serves the machine's disk and the other one would take it, and returns the first one.
func (s *streamed) serving() *lab.Server {
	s.t.Helper()
	begin := time.Now()
	st := s.waitStatus("two servers that can serve", func(st agent.Status) bool {
		srv := s.farm.Server(st.Server)
		return srv != nil && st.Serving && slices.ContainsFunc(st.Alternates, func(a agent.Alternate) bool {
			return a.Name == s.other(srv).Name && a.State == "serving"
		})
	})
	s.t.Logf("%s serves, the other one is ready to, after %v", st.Server, time.Since(begin).Round(time.Millisecond))
	s.moves = len(st.Moves)
	return s.farm.Server(st.Server)
}

// other is the server that srv is not.
func (s *streamed) other(srv *lab.Server) *lab.Server {
	return s.farm.Servers[(slices.Index(s.farm.Servers, srv)+1)%len(s.farm.Servers)]
}

// waitMoved waits until the status tells that the target has left a server for that reason, and the other one serves.
func (s *streamed) waitMoved(from *lab.Server, reason string) {
	s.t.Helper()
	to := s.other(from).Name
	st := s.waitStatus("a move from "+from.Name+" to "+to+": "+reason, func(st agent.Status) bool {
		return st.Serving && st.Server == to && slices.ContainsFunc(st.Moves[s.moves:], func(m agent.Move) bool {
			return m.From == from.Name && m.To == to && m.Reason == reason
		})
	})
	for _, m := range st.Moves[s.moves:] {
		s.t.Logf("status: %v", m)
	}
}

// work lets the machine do rounds of work, which must have brought bytes from the server that serves now.
func (s *streamed) work(rounds int) {
	s.t.Helper()
	before := s.status().Bytes
	s.machine.WaitRounds(s.machine.Rounds()+rounds, patience)
	if after := s.status().Bytes; after == before {
		s.t.Errorf("the machine did %d rounds of work without a byte from a server", rounds)
	} else {
		s.t.Logf("%d rounds, %.1f MB from the servers", rounds, float64(after-before)/1e6)
	}
}

// A Debian machine boots from a vDisk and works it hard; the server that serves it is stopped from the console, the next
// one is killed, the next one frozen. The status tells each change of server, and the machine notices none.
func TestAMachineDoesNotNoticeThatItsServersAreStoppedKilledAndFrozen(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	begin := time.Now()
	f := newFarm(ctx, t)
	target := attach(ctx, t, f)
	s := &streamed{t: t, ctx: ctx, farm: f, target: target, machine: Boot(t, target.Socket, Options{})}
	s.machine.WaitMark("init", patience)
	t.Logf("init runs from the vDisk %v after power-on", s.machine.Uptime().Round(time.Millisecond))
	s.work(1)

	stopped := s.serving()
	out, err := stopped.Spate(ctx, "server", "stop-stream", stopped.Name)
	if err != nil {
		t.Fatal(err)
	}
	if said := lastLine(out); !strings.HasPrefix(said, "1 moved, ") || !strings.HasSuffix(said, ", 0 left") {
		t.Errorf("the console says %q", said)
	}
	s.waitMoved(stopped, "going away")
	s.work(roundsAfter)
	if _, err := stopped.Spate(ctx, "server", "start-stream", stopped.Name); err != nil {
		t.Fatal(err)
	}

	killed := s.serving()
	killed.Kill()
	s.waitMoved(killed, "silent")
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := killed.Await(ctx, "ready"); err != nil {
		t.Fatal(err)
	}
	s.work(roundsAfter)

	frozen := s.serving()
	thaw := time.NewTimer(frozenFor)
	if err := frozen.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.waitMoved(frozen, "silent")
	<-thaw.C
	if err := frozen.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.work(roundsAfter)

	s.machine.Stop()
	s.machine.WaitDone(patience)
	t.Logf("%d rounds; everything took %v", s.machine.Rounds(), time.Since(begin).Round(time.Millisecond))
	if st := s.status(); st.Errors > 0 || !st.Serving {
		t.Errorf("status at the end: %+v", st)
	}
	if err := target.End(); err != nil {
		t.Fatal(err)
	}
	if status, err := target.Wait(ctx); err != nil || status != 0 {
		t.Errorf("spate-target ends with status %d (%v)", status, err)
	}
}
