package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// bootBound is Spate's time for the replay over nbdkit's.
	bootBound = 0.7
	// replayer is this program in the client's namespace, where it replays a trace.
	replayer = "spate-bench-replay"
	// traceVariable tells the test that records a boot where to write it.
	traceVariable = "SPATE_BENCH_TRACE"
)

// boot replays a recorded boot over a link with a delay.
func (b *bench) boot(ctx context.Context) error {
	path := filepath.Join(b.dir, "boot.json")
	t, err := b.recorded(ctx, path)
	if err != nil {
		return err
	}
	fmt.Printf("a boot of %d reads, %.1f MB, which took the machine %s\n", len(t.Reads), float64(t.bytes())/1e6, t.Took.Round(time.Millisecond))
	i := &image{name: "boot", path: t.Image}
	if err := i.measure(); err != nil {
		return err
	}
	if err := b.importImage(ctx, i); err != nil {
		return err
	}
	remove, err := namespaces(ctx)
	if err != nil {
		return err
	}
	defer remove()
	wire, err := makeDelayedLink(ctx)
	if err != nil {
		return err
	}
	defer wire.close()

	g := &grid{}
	defer g.close()
	p, err := b.startPeer(ctx, "nbdkit", overLink, i)
	if err != nil {
		return err
	}
	g.keep(p.server)
	s, err := b.serve(ctx, overLink)
	if err != nil {
		return err
	}
	g.keep(s.child)
	addr := strings.TrimSuffix(strings.TrimPrefix(p.uri, "nbd://"), "/")
	var ours, theirs []float64
	for round := range b.rounds + 1 { // the first is not counted: it warms the servers' page cache
		there, err := replayIn(ctx, overLink.client, addr, path)
		if err != nil {
			return fmt.Errorf("nbdkit: %w", err)
		}
		here, err := b.replaySpate(ctx, s, path)
		if err != nil {
			return fmt.Errorf("spate: %w", err)
		}
		fmt.Printf("  round %d  nbdkit %.3f s  spate %.3f s\n", round, there, here)
		if round > 0 {
			ours, theirs = append(ours, here), append(theirs, there)
		}
	}
	b.report.add(row{Name: "replay of a boot, 1 Gbit/s, 0.5 ms", Image: i.name, Unit: "s", Spate: median(ours), Peer: median(theirs), PeerName: "nbdkit",
		Bound: bootBound, AtMost: true, Spread: spread(ours)})
	return nil
}

// replaySpate replays through an attachment that knows nothing of the vDisk yet.
func (b *bench) replaySpate(ctx context.Context, s *spated, path string) (float64, error) {
	attached, socket, err := s.attach(ctx, "boot", "boot")
	if err != nil {
		return 0, err
	}
	defer attached.close()
	return replayIn(ctx, overLink.client, "unix:"+socket, path)
}

// recorded returns the recorded boot, and records one when there is none of an image that is still there.
func (b *bench) recorded(ctx context.Context, path string) (*trace, error) {
	if t, err := loadTrace(path); err == nil && present(t.Image) {
		return t, nil
	}
	fmt.Println("recording a boot of a virtual machine")
	cmd := exec.CommandContext(ctx, "go", "test", "-tags", "bench", "-run", "^TestRecordBoot$", "-count", "1", "-v", "./cmd/internal/bench")
	cmd.Env = append(os.Environ(), traceVariable+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("record a boot: %w: %s", err, bytes.TrimSpace(out))
	}
	return loadTrace(path)
}

// replayIn replays a trace from a namespace and returns the seconds it took.
func replayIn(ctx context.Context, ns, addr, path string) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := command(ctx, ns, self, replayer, addr, path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(out), 64)
}

func replayAsChild(addr, path string) error {
	t, err := loadTrace(path)
	if err != nil {
		return err
	}
	took, err := replay(t, addr)
	if err != nil {
		return err
	}
	fmt.Println(took.Seconds())
	return nil
}
