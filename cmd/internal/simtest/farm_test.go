package simtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/testdisk"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/simnet"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk"
)

const (
	vdiskName = "debian12"
	diskSize  = 8 << 20
	port      = 6910
)

// lan is a local network of a gigabit.
var lan = simnet.Link{Delay: 50 * time.Microsecond, Rate: 125_000_000}

var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "simtest"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// replica is the file of the vDisk, of which servers get copies.
var replica = sync.OnceValues(func() (string, error) {
	return lab.MakeStore(context.Background(), filepath.Join(scratch, "first"), vdiskName, diskSize)
})

// imported is the same disk imported at another time: it has another timestamp.
var imported = sync.OnceValues(func() (string, error) {
	return lab.MakeStore(context.Background(), filepath.Join(scratch, "second"), vdiskName, diskSize)
})

// nextVersion is the file of the vDisk's next version, whose disk is twice as large.
var nextVersion = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "next")
	if _, err := lab.MakeStore(context.Background(), dir, vdiskName, diskSize); err != nil {
		return "", err
	}
	r, err := vdisk.Import(context.Background(), vdisk.ImportOptions{
		Source: "-", Input: testdisk.Reader(2 * diskSize), Into: dir, Name: vdiskName, NewVersion: true, Codec: vdisk.DefaultCodec,
	})
	if err != nil {
		return "", err
	}
	return r.Path, nil
})

// now is the clock of all machines, which is the bubble's.
func now() engine.Instant { return engine.Instant(time.Now().UnixNano()) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a farm and its targets in a bubble.
type world struct {
	t       *testing.T
	net     *simnet.Network
	secret  *secure.Farm
	servers []*server
	targets []*target
}

// inBubble makes a farm whose servers hold copies of these files, and ends it after f. Its network follows from seed.
func inBubble(t *testing.T, seed uint64, files []func() (string, error), f func(w *world)) {
	var paths []string
	for _, file := range files { // outside: its goroutines and its times are not the test's
		path, err := file()
		ok(t, err)
		paths = append(paths, path)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: simnet.New(seed), secret: secure.NewFarm([32]byte{9})}
		w.net.Default().Set(lan)
		for i, path := range paths {
			s := &server{w: w, name: fmt.Sprintf("lab-%c", 'a'+i), ip: netip.AddrFrom4([4]byte{192, 0, 2, byte(11 + i)}), dir: t.TempDir()}
			ok(t, lab.CopyTo(s.dir, path))
			w.servers = append(w.servers, s)
		}
		for _, s := range w.servers {
			s.start()
		}
		defer w.end()
		f(w)
	})
}

func (w *world) end() {
	for _, g := range w.targets {
		g.end()
	}
	for _, s := range w.servers {
		s.kill()
	}
}

// refresh tells all targets who could serve them: something has changed.
func (w *world) refresh() {
	for _, s := range w.servers {
		if s.stream != nil {
			s.stream.Refresh()
		}
	}
}

// server is a machine that runs what spated runs.
type server struct {
	w      *world
	name   string
	ip     netip.Addr
	dir    string
	broken atomic.Bool // the store cannot be read

	store  *vdisk.Store
	farm   *farm.Farm
	stream *stream.Server // nil while the program does not run
	stop   context.CancelFunc
	all    sync.WaitGroup
}

func (s *server) addr() netip.AddrPort     { return netip.AddrPortFrom(s.ip, port) }
func (s *server) id() (id stream.ServerID) { copy(id[:], s.name); return id }

func (s *server) start() {
	t := s.w.t
	conns, err := s.w.net.Listen(s.addr(), udp.Options{Loops: 2})
	ok(t, err)
	s.store = vdisk.NewStore(farm.OpenStore, s.dir, vdisk.StoreOptions{})
	s.store.Scan()
	s.farm, err = farm.New(farm.Options{
		Name: s.name, Config: farm.OpenConfig(), ID: s.id(), Stream: s.addr(), Program: "test", Stores: []*vdisk.Store{s.store},
	})
	ok(t, err)
	s.stream = stream.NewServer(stream.ServerConfig{
		ID: s.id(), Name: s.name, Farm: s.w.secret, Admitter: admitter{s.farm, s}, Conns: conns, Epoch: 1, Now: now,
	})
	s.farm.Attach(s.stream)
	s.farm.Refresh()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	// All are ended by kill, which waits for them.
	for _, run := range []func(context.Context) error{s.stream.Run, s.farm.Run, s.look} {
		s.all.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", s.name, err)
			}
		})
	}
}

// look keeps the inventory up to date without events of the file system, for which nobody can wait in a bubble.
func (s *server) look(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.store.Scan()
		}
	}
}

// kill ends the program without a word to anybody.
func (s *server) kill() {
	if s.stream == nil {
		return
	}
	s.stop()
	s.all.Wait()
	s.stream = nil
	if err := s.farm.Close(); err != nil {
		s.w.t.Errorf("%s: %v", s.name, err)
	}
	s.store.Close()
}

// silence cuts the machine off the network, and returns what connects it again.
func (s *server) silence() (back func()) {
	s.w.net.Cut(s.ip, netip.Addr{})
	s.w.net.Cut(netip.Addr{}, s.ip)
	return func() {
		s.w.net.Heal(s.ip, netip.Addr{})
		s.w.net.Heal(netip.Addr{}, s.ip)
	}
}

// admitter is a server's farm, which asks the farms of the others who could take a target over, and whose images fail
// when the store is broken.
type admitter struct {
	*farm.Farm
	s *server
}

// Admit implements stream.Admitter.
func (a admitter) Admit(w stream.Who) stream.Decision {
	d := a.Farm.Admit(w)
	if im, ok := d.Image.(stream.QuickImage); ok {
		d.Image = image{im, a.s}
	}
	return d
}

// Alternates implements stream.Admitter.
func (a admitter) Alternates(w stream.Who, c wire.Content) wire.Alternates {
	var list wire.Alternates
	w.Resume, w.Content = true, c
	for _, o := range a.s.w.servers {
		if o == a.s || o.farm == nil {
			continue
		}
		alternate := wire.Alternate{Name: o.name, ID: o.id(), Addr: o.addr(), State: wire.StateServing}
		if d := o.farm.Admit(w); d.Result != wire.ResultAccept {
			alternate.State = wire.StateNoReplica
		}
		list.List = append(list.List, alternate)
	}
	return list
}

// image is a vDisk on a store that may fail.
type image struct {
	stream.QuickImage
	s *server
}

// ReadAnswer implements stream.Image.
func (i image) ReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, error) {
	if i.s.broken.Load() {
		return 0, 0, fmt.Errorf("read %s: %w", i.s.dir, syscall.EIO)
	}
	return i.QuickImage.ReadAnswer(p, level, first, count, from)
}

// TryReadAnswer implements stream.QuickImage.
func (i image) TryReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, bool) {
	if i.s.broken.Load() {
		return 0, 0, false
	}
	return i.QuickImage.TryReadAnswer(p, level, first, count, from)
}

// newKey makes the key of a device.
func newKey(t testing.TB) secure.PrivateKey {
	key, err := secure.GenerateKey(rand.Reader)
	ok(t, err)
	return key
}

// ended is the error of something that was ended on purpose, or none.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
