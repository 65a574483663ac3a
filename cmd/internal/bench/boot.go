package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spate-project/spate/cmd/internal/bootreplay"
	"github.com/spate-project/spate/cmd/internal/nbd"
	"github.com/spate-project/spate/cmd/internal/vmtest"
)

const (
	// bootBound is Spate's time for the replay over nbdkit's.
	bootBound = 0.7
	// replayer is this program in the client's namespace, where it replays a trace.
	replayer = "spate-bench-replay"
	// bootRounds is how much work the recorded machine does after its boot.
	bootRounds = 1
)

// boot replays a recorded boot over a link with a delay.
func (b *bench) boot(ctx context.Context) error {
	path, root, err := b.recorded(ctx)
	if err != nil {
		return err
	}
	i := &image{name: "boot", path: root}
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
	addr := "tcp:" + strings.TrimSuffix(strings.TrimPrefix(p.uri, "nbd://"), "/")
	var ours, theirs []float64
	for round := range b.rounds + 1 { // the first is not counted: by it the servers have done everything once
		if err := readFile(root)(ctx); err != nil {
			return err
		}
		there, err := replayIn(ctx, overLink.client, addr, path)
		if err != nil {
			return fmt.Errorf("nbdkit: %w", err)
		}
		if err := readFile(b.sealed(i))(ctx); err != nil {
			return err
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

// recorded returns the file of the recorded boot and the image of the machine's disk. It records a boot when there
// is none of this machine yet.
func (b *bench) recorded(ctx context.Context) (path, root string, err error) {
	files, err := vmtest.Prepare(ctx)
	if err != nil {
		return "", "", err
	}
	path = filepath.Join(b.dir, "boot-"+filepath.Base(filepath.Dir(files.Root))+".json")
	if present(path) {
		return path, files.Root, nil
	}
	fmt.Println("recording a boot of a virtual machine")
	r, files, err := vmtest.RecordBoot(ctx, bootRounds)
	if err != nil {
		return "", "", err
	}
	return path, files.Root, r.Save(path)
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
	r, err := bootreplay.Load(path)
	if err != nil {
		return err
	}
	ctx := context.Background() // ends with the process, which the benchmark ends
	d, err := nbd.Open(ctx, addr)
	if err != nil {
		return err
	}
	defer d.Close()
	result, err := bootreplay.Replay(ctx, r, d, bootreplay.Options{})
	if err != nil {
		return err
	}
	fmt.Println(result.Took.Seconds())
	return nil
}
