package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/cmd/internal/logging"
	"github.com/spate-project/spate/cmd/internal/version"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk"
)

// aloneDrain is how long a server that shuts down waits for targets that have
// nowhere to go: time to tell them.
const aloneDrain = 300 * time.Millisecond

func run(ctx context.Context, o options) error {
	p, err := o.plan()
	if err != nil {
		return err
	}
	if o.check {
		fmt.Fprintf(o.out, "%s: no mistakes; hash %s\n", p.path, p.config.Hash.Short())
		return nil
	}
	log, level, err := logging.New(logging.Options{Level: o.logLevel, Format: logging.Format(o.logFormat), Output: o.messages})
	if err != nil {
		return err
	}
	defer log.Sync() //nolint:errcheck // a terminal cannot be synced, and nobody is left to tell
	preferMe(log)
	if err := os.MkdirAll(p.state, 0o700); err != nil {
		return fmt.Errorf("the folder for keys and state: %w", err)
	}
	s, err := newServer(p, o.out, log, level)
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// server is the parts of a running spated.
type server struct {
	p      *plan
	log    *zap.Logger
	level  zap.AtomicLevel
	out    io.Writer
	keys   keys
	stores []*vdisk.Store
	farm   *farm.Farm
	stream *stream.Server
	addr   netip.AddrPort
	boot   *boot // nil: no boot services

	sessions atomic.Pointer[stream.Server] // stream, for those who ask before it is made

	mu    sync.Mutex
	shown map[string]bool // guarded by mu: vDisks and images that were told
	ready bool            // guarded by mu
}

// newServer binds every socket and opens every store.
func newServer(p *plan, out io.Writer, log *zap.Logger, level zap.AtomicLevel) (*server, error) {
	s := &server{p: p, log: log, level: level, out: out, shown: map[string]bool{}}
	var err error
	if s.keys, err = readKeys(p); err != nil {
		return nil, err
	}
	id, err := readID(p)
	if err != nil {
		return nil, err
	}
	conns, err := udp.Listen(p.stream, udp.Options{Loops: runtime.GOMAXPROCS(0)})
	if err != nil {
		return nil, listenProblem(p.stream, err)
	}
	s.addr = conns[0].LocalAddr()
	for _, c := range p.stores {
		diary := newDiary(log.Named("store"), p.name)
		st := vdisk.NewStore(c.Server, c.Path, vdisk.StoreOptions{Changed: func(i vdisk.Inventory) {
			diary.note(i)
			s.inventory(i)
		}})
		s.stores = append(s.stores, st)
		st.Scan()
	}
	if s.farm, err = s.newFarm(id); err != nil {
		return nil, closeAll(err, conns)
	}
	if s.boot, err = s.newBoot(); err != nil {
		return nil, errors.Join(closeAll(err, conns), s.farm.Close())
	}
	s.stream = stream.NewServer(stream.ServerConfig{
		ID: id, Name: p.name, Farm: s.keys.farm, Admitter: s.farm, Conns: conns, Log: log.Named("stream"),
	})
	s.farm.Attach(s.stream)
	s.sessions.Store(s.stream)
	return s, nil
}

func closeAll(err error, conns []udp.Conn) error {
	for _, c := range conns {
		err = errors.Join(err, c.Close())
	}
	return err
}

// newFarm joins the farm. A server without a farm file whose peer port is taken
// stays alone, unless it was told to join or which port to use.
func (s *server) newFarm(id stream.ServerID) (*farm.Farm, error) {
	o := farm.Options{
		Name: s.p.name, Config: s.p.config, Path: s.p.path, ID: id, Stream: reachable(s.addr), Program: version.String(),
		Bind: s.p.peer, Join: s.p.join, PeerKeys: s.keys.peers, ReadPSK: keyfile.Read, Stores: s.stores, Log: s.log,
		FarmKey: s.keys.farm.Public().String(), Boot: s.p.boot.addr(),
		Changed: func() {
			if st := s.sessions.Load(); st != nil { // other servers are heard of before there is a stream service
				st.Refresh()
			}
		},
	}
	if s.p.peer.IsValid() && s.p.peer.Port() != 0 {
		o.Advertise = reachable(s.p.peer)
	}
	f, err := farm.New(o)
	if err != nil && s.p.open && !s.p.peerChosen && len(s.p.join) == 0 {
		s.log.Warn("no port for other servers; this one stays alone", zap.Stringer("peer", s.p.peer), zap.Error(err))
		o.Bind, o.Advertise = netip.AddrPort{}, netip.AddrPort{}
		return farm.New(o)
	}
	return f, err
}

// run serves until a signal, then shuts down in order: start no more machines, refuse log-ins, move the
// targets away, close the sockets, leave the farm, close the stores.
func (s *server) run(ctx context.Context) error {
	ctx, stopSignals := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stopSignals()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g := newGroup(cancel)
	for _, st := range s.stores {
		g.run("store "+st.Name(), func() error { return st.Run(work) })
	}
	g.run("farm", func() error { return s.farm.Run(work) })
	g.run("stream service", func() error { return s.stream.Run(work) })
	g.run("scrub", func() error { return s.scrub(work) })
	g.run("admin API", func() error { return s.serveAdmin(work) })
	machines, noMore := context.WithCancel(work)
	defer noMore()
	if s.boot != nil {
		for _, part := range s.boot.parts {
			g.run("boot service "+part.name, func() error {
				err := s.boot.run(machines, part)
				<-work.Done() // its end is not the program's
				return err
			})
		}
	}
	g.run("signals", func() error { return s.reload(work) })
	s.announce()
	select {
	case <-ctx.Done():
		stopSignals() // a second signal ends the program at once
		noMore()
		s.drain(work)
	case <-work.Done():
	}
	cancel()
	err := g.wait()
	err = errors.Join(err, s.farm.Close())
	for _, st := range s.stores {
		st.Close()
	}
	return err
}

// drain moves the targets to other servers, as far as there are any.
func (s *server) drain(ctx context.Context) {
	deadline := s.p.config.Drain
	if total, stranded := s.farm.Stranded(); total == stranded {
		deadline = aloneDrain
	}
	d := s.stream.StopStream(ctx, wire.AwayShutdown, deadline, nil)
	if d.Total > 0 {
		s.log.Info("targets moved", zap.Int("moved", d.Moved), zap.Duration("longest pause", d.LongestPause), zap.Int("left", d.Left))
	}
}

// reload reads the farm file again on SIGHUP.
func (s *server) reload(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			if err := s.farm.Reload(); err != nil {
				s.log.Error("farm file not taken; everything stays as it was", zap.Error(err))
				continue
			}
			if late := s.p.boot.restarts(planBoot(s.farm.Config(), s.p.name)); len(late) > 0 {
				s.log.Warn("these settings of the farm file count when spated is started again", zap.Strings("settings", late))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// group runs the parts of a program; the first that fails ends all.
type group struct {
	cancel context.CancelFunc
	all    sync.WaitGroup
	mu     sync.Mutex
	err    error // guarded by mu
}

func newGroup(cancel context.CancelFunc) *group { return &group{cancel: cancel} }

func (g *group) run(name string, f func() error) {
	g.all.Go(func() {
		defer g.cancel()
		if err := f(); err != nil && !errors.Is(err, context.Canceled) {
			g.mu.Lock()
			g.err = errors.Join(g.err, fmt.Errorf("%s: %w", name, err))
			g.mu.Unlock()
		}
	})
}

func (g *group) wait() error {
	g.all.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}
