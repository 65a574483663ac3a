package vmtest

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Need skips the test when something is missing that virtual machines take, and names the Debian package.
func Need(t testing.TB) {
	t.Helper()
	if err := Missing(); err != nil {
		t.Skip(err)
	}
}

// Fixture is Prepare for a test. Tests that cannot have it skip.
func Fixture(t testing.TB) Files {
	t.Helper()
	Need(t)
	f, err := Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Guest is a machine of a test, which fails when a method of the machine does.
type Guest struct {
	*Machine
	t testing.TB
}

// Boot starts a machine from the files of Fixture, with the default export of the NBD server on socket as its disk. The
// machine ends with the test at the latest.
func Boot(t testing.TB, socket string, o Options) *Guest {
	t.Helper()
	m, err := Start(t.Context(), Fixture(t), socket, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Kill()
		if t.Failed() {
			t.Logf("the end of the machine's console:\n%s", m.Tail())
		}
	})
	return &Guest{m, t}
}

// within is a context of the test that ends after a while.
func (g *Guest) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(g.t.Context(), d, fmt.Errorf("it took longer than %v", d))
}

func (g *Guest) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// WaitMark waits for a mark that begins with prefix and returns it.
func (g *Guest) WaitMark(prefix string, within time.Duration) string {
	g.t.Helper()
	ctx, cancel := g.within(within)
	defer cancel()
	mark, err := g.AwaitMark(ctx, prefix)
	g.must(err)
	return mark
}

// WaitRounds waits until the machine has finished n rounds.
func (g *Guest) WaitRounds(n int, within time.Duration) {
	g.t.Helper()
	g.WaitMark(fmt.Sprintf("round %d ", n), within)
}

// WaitProblem waits until the machine complains, and returns how; for tests that mean it to.
func (g *Guest) WaitProblem(within time.Duration) string {
	g.t.Helper()
	ctx, cancel := g.within(within)
	defer cancel()
	p, err := g.AwaitProblem(ctx)
	g.must(err)
	return p
}

// Stop asks the machine to end its work after this round, and to power off.
func (g *Guest) Stop() {
	g.t.Helper()
	g.must(g.Machine.Stop())
}

// WaitDone waits until the machine has done its work and powered off, all without trouble.
func (g *Guest) WaitDone(within time.Duration) {
	g.t.Helper()
	ctx, cancel := g.within(within)
	defer cancel()
	g.must(g.AwaitDone(ctx))
}
