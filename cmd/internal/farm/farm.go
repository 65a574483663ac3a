package farm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/logging"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk"
)

// Streams is the stream service of this server as the farm needs it; *stream.Server satisfies it.
type Streams interface {
	Sessions() []stream.SessionView
	Stats() stream.ServerStats
	StopStream(ctx context.Context, reason wire.GoingAwayReason, deadline time.Duration, progress func(stream.Drained)) stream.Drained
	StartStream()
	Propose(list []stream.Proposal, within time.Duration) (asked int)
	Streaming() bool
	Epoch() uint32
	LearnEpoch(uint32)
}

// Options are what a Farm is made of.
type Options struct {
	// Name is this server's own.
	Name string
	// Config is the farm, Path the farm file for Reload; Path is empty in an open farm.
	Config *Config
	Path   string
	// ID is the server's lasting identity in the stream protocol, Stream the address of its stream service as
	// others reach it, Program the version of its program.
	ID      [wire.ServerIDSize]byte
	Stream  netip.AddrPort
	Program string
	// Bind is where peers are listened for; not valid when the server is alone. Advertise is what peers are
	// told, Bind when not valid. Join is where peers of an open farm may be.
	Bind, Advertise netip.AddrPort
	Join            []netip.AddrPort
	// PeerKeys seal what servers tell each other, 32 bytes each, the one to use first.
	PeerKeys [][]byte
	// ReadPSK reads the pre-shared key of a collection from its file; nil when there are none.
	ReadPSK func(path string) ([32]byte, error)
	// Stores are this server's stores. They are run and closed by their owner.
	Stores []*vdisk.Store
	// Changed is called, not from a goroutine that holds a lock, when another server came, went, or changed
	// the state of its stream service: what targets were told of it is out of date. It may be nil.
	Changed func()
	// FarmKey is the public key of the farm, which boot scripts name.
	FarmKey string
	// Boot is where this server's boot services answer HTTP; not valid when it runs none.
	Boot netip.AddrPort
	// Balance says how running targets are moved to servers that have less to do; the zero value means as usual.
	Balance Balance
	// Log may be nil.
	Log *zap.Logger
}

// Farm is the farm as one of its servers knows it. It satisfies stream.Admitter and Service. All methods are
// safe for concurrent use.
type Farm struct {
	o       Options
	log     *zap.Logger
	peers   *Peers
	library *library
	born    time.Time

	machines machines    // that boot from this server
	network  machines    // what was noticed of no machine in particular: under the zero address alone
	bootLog  *zap.Logger // what is done for them

	rules   atomic.Pointer[rules]
	streams atomic.Pointer[Streams]

	mu        sync.Mutex // guards the fields below
	strangers strangers
	sent      uint64 // bytes, at the last tell
	sentAt    time.Time
	stop      *stop // of the stream service, that is under way; nil when none is
}

// rules is a farm file with the keys that it names.
type rules struct {
	config *Config
	psk    map[string][32]byte // by collection
}

// New makes the farm of a server and binds the peer port. Run does the rest; Close must be called in any case.
func New(o Options) (*Farm, error) {
	f := &Farm{o: o, log: logging.Or(o.Log).Named("farm"), library: newLibrary(o.Stores), born: time.Now()}
	f.bootLog = logging.Or(o.Log).Named("boot")
	r, err := f.load(o.Config)
	if err != nil {
		return nil, err
	}
	f.rules.Store(r)
	f.o.Balance = o.Balance.orUsual()
	f.library.refresh(time.Now())
	po := PeerOptions{
		Name: o.Name, Bind: o.Bind, Advertise: o.Advertise, Keys: o.PeerKeys,
		Meta:    Meta{ID: o.ID, Stream: o.Stream, Program: o.Program},
		Seeds:   f.seeds,
		Tell:    f.tell,
		Epoch:   f.epoch,
		Serve:   f.handle,
		Changed: o.Changed,
		Log:     o.Log,
	}
	po.LearnEpoch = func(n uint32) {
		if s := f.streams.Load(); s != nil {
			(*s).LearnEpoch(n)
		}
	}
	if !o.Config.Open {
		po.Known = func(name string) bool { return f.rules.Load().config.Server(name) != nil }
	}
	if f.peers, err = ListenPeers(po); err != nil {
		return nil, err
	}
	return f, nil
}

// Attach names the stream service, which needs the farm before the farm can need it.
func (f *Farm) Attach(s Streams) { f.streams.Store(&s) }

// Run tells the other servers about this one, and moves targets to those that have less to do, until the context
// ends.
func (f *Farm) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { f.balance(ctx) }) // ends with the context; Run waits for it
	defer all.Wait()
	return f.peers.Run(ctx)
}

// Refresh takes in at once what has changed in the stores, and tells the other servers. Without it that takes up to a second.
func (f *Farm) Refresh() { f.peers.report() }

// Close leaves the farm and closes what was open for the stream service, which must have ended.
func (f *Farm) Close() error {
	err := f.peers.Close()
	f.library.close()
	return err
}

// PeerAddr is the address at which other servers reach this one.
func (f *Farm) PeerAddr() netip.AddrPort { return f.peers.Addr() }

// Config is the farm file in force.
func (f *Farm) Config() *Config { return f.rules.Load().config }

// Reload reads the farm file again. A file with mistakes changes nothing; running sessions are not disturbed
// in any case.
func (f *Farm) Reload() error {
	if f.o.Path == "" {
		return Errorf(ErrorInvalid, "this farm has no farm file that could be read again")
	}
	c, err := ReadConfig(f.o.Path)
	if err != nil {
		return err
	}
	if c.Server(f.o.Name) == nil {
		return Mistakes{{File: f.o.Path, Text: fmt.Sprintf("this server, %s, is not among the servers", f.o.Name)}}
	}
	r, err := f.load(c)
	if err != nil {
		return err
	}
	f.rules.Store(r)
	f.log.Info("farm file read", zap.String(logging.KeyFile, f.o.Path), zap.String("hash", c.Hash.Short()))
	return nil
}

// load reads the keys that a farm file names.
func (f *Farm) load(c *Config) (*rules, error) {
	r := &rules{config: c, psk: map[string][32]byte{}}
	var errs []error
	for _, one := range c.Collections {
		if one.PSKFile == "" {
			continue
		}
		if f.o.ReadPSK == nil {
			return nil, errors.New("collections have pre-shared keys, and nothing can read them")
		}
		key, err := f.o.ReadPSK(one.PSKFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("pre-shared key of collection %s: %w", one.Name, err))
		}
		r.psk[one.Name] = key
	}
	return r, errors.Join(errs...)
}

// view is the farm at this moment.
func (f *Farm) view() view {
	return view{f.rules.Load().config, f.o.Name, f.peers.peers()}
}

// seeds are the addresses at which other servers should be.
func (f *Farm) seeds() []netip.AddrPort {
	c := f.Config()
	if c.Open {
		return f.o.Join
	}
	var all []netip.AddrPort
	for _, s := range c.Servers {
		if s.Name != f.o.Name {
			all = append(all, s.Peer)
		}
	}
	return all
}

func (f *Farm) epoch() uint32 {
	if s := f.streams.Load(); s != nil {
		return (*s).Epoch()
	}
	return 0
}

// tell is what this server tells the others.
func (f *Farm) tell() Tell {
	now := time.Now()
	t := Tell{Load: Load{State: StreamStopped}, Config: f.Config().Hash, Replicas: f.library.refresh(now)}
	p := f.streams.Load()
	if p == nil {
		return t
	}
	s := *p
	for _, one := range s.Sessions() {
		if !one.Confirmed {
			continue
		}
		t.Sessions++
		f.machines.firmware(now, one.MAC, one.Uptime) // remembered early, before the clocks go apart
		if f.o.Balance.boots(one) {
			t.Booting++
		}
	}
	if q, ok := s.(interface{ QueueDelay() time.Duration }); ok {
		t.QueueDelay = q.QueueDelay()
	}
	sent := s.Stats().Sent
	f.mu.Lock()
	defer f.mu.Unlock()
	if past := now.Sub(f.sentAt); !f.sentAt.IsZero() && past > 0 && sent >= f.sent {
		t.Egress = float64(sent-f.sent) / past.Seconds()
	}
	f.sent, f.sentAt = sent, now
	switch {
	case f.stop != nil:
		t.State = StreamLeaving
	case s.Streaming():
		t.State = StreamServing
	}
	return t
}
