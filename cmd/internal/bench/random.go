package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/cmd/internal/bootreplay"
	"github.com/spate-project/spate/cmd/internal/nbd"
)

const (
	randomSize   = 4 << 10
	randomStride = 64 << 10 // between two offsets: no two of them share a chunk of the usual sizes
	depth        = 32
	shallowReads = 2000
	deepReads    = 8000
	cachedBytes  = 64 << 20 // of the vDisk, read once before
	cachedReads  = 40_000
)

const (
	firstTouchShallow = 2.5  // median latency at depth 1 over nbdkit's behind its own proxy
	firstTouchDeep    = 0.35 // reads a second at depth 32 over the same
	cachedDeep        = 0.8  // reads a second at depth 32, cached, over direct nbdkit
)

// random reads 4 KiB here and there through an NBD socket.
func (b *bench) random(ctx context.Context) error {
	i, err := b.image(ctx, "real")
	if err != nil {
		return err
	}
	if err := b.importImage(ctx, i); err != nil {
		return err
	}
	g := &grid{}
	defer g.close()
	direct, err := b.startPeer(ctx, "nbdkit", loopback, i)
	if err != nil {
		return err
	}
	g.keep(direct.server)
	hostPort := strings.TrimSuffix(strings.TrimPrefix(direct.uri, "nbd://"), "/")
	host, port, _ := strings.Cut(hostPort, ":")
	proxySocket := filepath.Join(b.dir, "proxy.sock")
	_ = os.Remove(proxySocket) // of a run that was killed; what cannot be removed nbdkit complains of
	proxy, err := start("", "nbdkit", "-f", "-r", "-U", proxySocket, "nbd", "hostname="+host, "port="+port)
	if err != nil {
		return err
	}
	g.keep(proxy)
	if err := proxy.wait(ctx, "listening", func() bool { return present(proxySocket) }); err != nil {
		return err
	}
	s, err := b.serve(ctx, loopback)
	if err != nil {
		return err
	}
	g.keep(s.child)
	// By one pass the servers have done everything once; what is cold is the target's.
	for _, warm := range []func(context.Context) error{copier(loopback, direct.uri), s.reader(i.name)} {
		if err := warm(ctx); err != nil {
			return err
		}
	}
	if err := b.firstTouch(ctx, i, s, "tcp:"+hostPort, "unix:"+proxySocket); err != nil {
		return err
	}
	return b.cached(ctx, i, s, "tcp:"+hostPort)
}

// offsets are n places of the image in random order, each in a chunk of its own while there are enough.
func offsets(r *rand.Rand, size int64, n int) []int64 {
	places := r.Perm(int(size / randomStride))
	all := make([]int64, n)
	for i := range all {
		all[i] = int64(places[i%len(places)])*randomStride + int64(r.IntN(randomStride/randomSize))*randomSize
	}
	return all
}

// latencies are the figures of one way to read, one a round.
type latencies struct{ shallow, deep []float64 } // median microseconds at depth 1, reads a second at depth 32

// firstTouch reads what the target has not seen yet; Spate is attached anew for each measurement. The servers' page
// cache is warm: what they read is brought into it before each turn.
func (b *bench) firstTouch(ctx context.Context, i *image, s *spated, direct, proxy string) error {
	var ours, proxied, straight latencies
	for round := range b.rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		shallow, deep := offsets(r, i.size, shallowReads), offsets(r, i.size, deepReads)
		fmt.Printf("  round %d", round+1)
		for _, x := range []struct {
			to         *latencies
			addr, file string
		}{{&proxied, proxy, i.path}, {&straight, direct, i.path}, {&ours, "", b.sealed(i)}} {
			if err := readFile(x.file)(ctx); err != nil {
				return err
			}
			if err := b.touch(ctx, i, s, x.addr, shallow, deep, x.to); err != nil {
				return err
			}
			fmt.Printf("  %.0f µs, %.0f/s", x.to.shallow[round], x.to.deep[round])
		}
		fmt.Println("  (nbdkit proxied, nbdkit, spate)")
	}
	b.report.add(row{Name: "first touch, depth 1, median", Image: i.name, Unit: "µs", Spate: median(ours.shallow), Peer: median(proxied.shallow),
		PeerName: "nbdkit, proxied", Bound: firstTouchShallow, AtMost: true, Spread: spread(ours.shallow)})
	b.report.add(row{Name: "first touch, depth 1, to direct", Image: i.name, Unit: "µs", Spate: median(ours.shallow), Peer: median(straight.shallow),
		PeerName: "nbdkit", Spread: spread(ours.shallow)})
	b.report.add(row{Name: "first touch, depth 32", Image: i.name, Unit: "reads/s", Spate: median(ours.deep), Peer: median(proxied.deep),
		PeerName: "nbdkit, proxied", Bound: firstTouchDeep, Spread: spread(ours.deep)})
	b.report.add(row{Name: "first touch, depth 32, to direct", Image: i.name, Unit: "reads/s", Spate: median(ours.deep), Peer: median(straight.deep),
		PeerName: "nbdkit", Spread: spread(ours.deep)})
	return nil
}

// touch measures both depths at an address, or through a fresh attachment of Spate when it is empty.
func (b *bench) touch(ctx context.Context, i *image, s *spated, addr string, shallow, deep []int64, to *latencies) error {
	measure := func(offsets []int64, depth int) (time.Duration, []time.Duration, error) {
		at := addr
		if addr == "" {
			attached, socket, err := s.attach(ctx, i.name, "touch")
			if err != nil {
				return 0, nil, err
			}
			defer attached.close()
			at = "unix:" + socket
		}
		return readAt(ctx, at, offsets, depth)
	}
	_, each, err := measure(shallow, 1)
	if err != nil {
		return err
	}
	micros := make([]float64, len(each))
	for i, d := range each {
		micros[i] = float64(d.Nanoseconds()) / 1e3
	}
	elapsed, _, err := measure(deep, depth)
	if err != nil {
		return err
	}
	to.shallow = append(to.shallow, median(micros))
	to.deep = append(to.deep, float64(len(deep))/elapsed.Seconds())
	return nil
}

// cached reads what the target has read before.
func (b *bench) cached(ctx context.Context, i *image, s *spated, direct string) error {
	attached, socket, err := s.attach(ctx, i.name, "cached")
	if err != nil {
		return err
	}
	defer attached.close()
	var ours, theirs []float64
	for round := range b.rounds {
		r := rand.New(rand.NewPCG(seed, uint64(100+round)))
		places := make([]int64, cachedReads)
		for n := range places {
			places[n] = r.Int64N(cachedBytes/randomSize) * randomSize
		}
		for _, x := range []struct {
			addr string
			to   *[]float64
		}{{direct, &theirs}, {"unix:" + socket, &ours}} {
			rate, err := readTwice(ctx, x.addr, places)
			if err != nil {
				return err
			}
			*x.to = append(*x.to, rate)
		}
	}
	b.report.add(row{Name: "cached, depth 32", Image: i.name, Unit: "reads/s", Spate: median(ours), Peer: median(theirs), PeerName: "nbdkit",
		Bound: cachedDeep, Spread: spread(ours)})
	return nil
}

// readTwice reads the cached part in order, then the places, and returns the reads a second of the latter.
func readTwice(ctx context.Context, addr string, places []int64) (float64, error) {
	d, err := nbd.Open(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	buf := make([]byte, randomStride)
	for off := int64(0); off < cachedBytes; off += randomStride {
		if err := d.ReadAt(ctx, buf, off); err != nil {
			return 0, err
		}
	}
	elapsed, _, err := readAll(ctx, d, places, depth)
	return float64(len(places)) / elapsed.Seconds(), err
}

// readAt reads randomSize bytes at each offset of the disk at an address.
func readAt(ctx context.Context, addr string, offsets []int64, depth int) (time.Duration, []time.Duration, error) {
	d, err := nbd.Open(ctx, addr)
	if err != nil {
		return 0, nil, err
	}
	defer d.Close()
	return readAll(ctx, d, offsets, depth)
}

// readAll reads randomSize bytes at each offset, depth at a time, and returns how long all of it took and each
// read.
func readAll(ctx context.Context, d bootreplay.Disk, offsets []int64, depth int) (time.Duration, []time.Duration, error) {
	took := make([]time.Duration, len(offsets))
	errs := make([]error, depth)
	var (
		next    atomic.Int64
		readers sync.WaitGroup
	)
	begin := time.Now()
	for n := range depth {
		readers.Go(func() { // ends when all offsets are taken, or with the first error
			buf := make([]byte, randomSize)
			for errs[n] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(offsets) {
					return
				}
				start := time.Now()
				errs[n] = d.ReadAt(ctx, buf, offsets[i])
				took[i] = time.Since(start)
			}
		})
	}
	readers.Wait()
	return time.Since(begin), took, errors.Join(errs...)
}
