package simtest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/remote"
	"github.com/spate-project/spate/cmd/internal/testdisk"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

const (
	piece    = 16 << 10 // bytes of one read
	readers  = 4        // of each target
	rest     = 4 * time.Millisecond
	stride   = 769 // pieces: it shares no divisor with their number, so that reads jump about and miss none
	written  = 1<<20 + 4096
	writeLen = 3 * piece
)

// target is a machine that runs what spate-target runs, and reads its disk all the time.
type target struct {
	w      *world
	client *stream.Client
	disk   *remote.Disk
	device *blockdev.WriteCache
	mine   []byte // what it has written at written
	stop   context.CancelFunc
	work   sync.WaitGroup
	leave  context.CancelFunc
	left   chan error
	cursor atomic.Int64
	bytes  atomic.Int64

	mu      sync.Mutex
	moves   []stream.Event // guarded by mu
	notes   []stream.Event // guarded by mu: all else that was told
	longest time.Duration  // guarded by mu: of the reads since it was asked last
}

// attach logs a target in and has it read.
func (w *world) attach() *target {
	t, n := w.t, len(w.targets)
	conns, err := w.net.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(101 + n)}), 0), udp.Options{Refusals: true})
	ok(t, err)
	g := &target{w: w, left: make(chan error, 1), mine: bytes.Repeat([]byte{byte('A' + n)}, writeLen)}
	var servers []netip.AddrPort
	for _, s := range w.servers {
		servers = append(servers, s.addr())
	}
	g.client = stream.NewClient(stream.ClientConfig{
		Farm: w.secret.Public(), Device: newKey(t), Cipher: wire.CipherAES256GCM, Servers: servers, Conn: conns[0], Now: now, OnEvent: g.event,
		Login: wire.Login{MAC: [6]byte{2, 0, 0, 0, 0, byte(n)}, VDisk: vdiskName, Number: wire.NewestVersion, Label: fmt.Sprintf("target-%d", n)},
	})
	run, leave := context.WithCancel(context.Background())
	g.leave = leave
	go func() { g.left <- g.client.Run(run) }() // ended by end, which waits for it
	told, err := g.client.WaitServing(run)
	ok(t, err)
	// Small caches and no read-ahead: who reads needs a server all the time.
	g.disk, err = remote.Open(told, g.client, remote.Options{CacheBytes: 1, DecodedBytes: 1, ReadAhead: -1, Workers: 2})
	ok(t, err)
	g.device, err = blockdev.NewWriteCache(g.disk, 1<<20, nil)
	ok(t, err)
	w.targets = append(w.targets, g)
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	ok(t, g.device.WriteAt(ctx, g.mine, written))
	for range readers {
		g.work.Go(func() { g.read(ctx) }) // ended by end
	}
	return g
}

func (g *target) event(e stream.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.Kind == engine.EventMoved {
		g.moves = append(g.moves, e)
	} else {
		g.notes = append(g.notes, e)
	}
}

// read reads pieces of the disk until ctx ends, each at the next place that no other reader takes.
func (g *target) read(ctx context.Context) {
	t := g.w.t
	var check testdisk.Checker
	buf := make([]byte, piece)
	for ctx.Err() == nil {
		off := g.cursor.Add(1) * stride % (g.device.Size() / piece) * piece
		begin := time.Now()
		if err := g.device.ReadAt(ctx, buf, off); err != nil {
			if ended(err) != nil {
				t.Errorf("read at %d: %v", off, err)
			}
			return
		}
		took := time.Since(begin)
		g.bytes.Add(piece)
		g.mu.Lock()
		g.longest = max(g.longest, took)
		g.mu.Unlock()
		if !g.right(&check, buf, off) {
			t.Errorf("wrong bytes at %d", off)
		}
		time.Sleep(rest)
	}
}

// right tells whether a piece is what the disk holds, or what was written.
func (g *target) right(check *testdisk.Checker, p []byte, off int64) bool {
	from, to := max(off, written), min(off+piece, written+writeLen)
	if from >= to {
		return check.Wrong(p, off) == 0
	}
	return check.Wrong(p[:from-off], off) == 0 && bytes.Equal(p[from-off:to-off], g.mine[from-written:to-written]) &&
		check.Wrong(p[to-off:], to) == 0
}

// since gives the longest read and the moves since it was asked last.
func (g *target) since() (longest time.Duration, moves []stream.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	longest, moves = g.longest, g.moves
	g.longest, g.moves = 0, nil
	return longest, moves
}

// serving is the server that serves it.
func (g *target) serving() *server {
	name := g.client.Snapshot().Server
	for _, s := range g.w.servers {
		if s.name == name {
			return s
		}
	}
	g.w.t.Fatalf("no server is called %q", name)
	return nil
}

// read is how many bytes all targets have read.
func (w *world) read() (n int64) {
	for _, g := range w.targets {
		n += g.bytes.Load()
	}
	return n
}

// end stops reading and leaves the farm.
func (g *target) end() {
	g.stop()
	g.work.Wait()
	ok(g.w.t, g.device.Close())
	ok(g.w.t, g.disk.Close())
	g.leave()
	if err := <-g.left; ended(err) != nil {
		g.w.t.Error(err)
	}
}
