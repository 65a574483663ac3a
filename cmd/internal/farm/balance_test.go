package farm

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spate-project/spate/loadbalance"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk"
)

// carrier is a server of a farm in this process, with a stream service on loopback.
type carrier struct {
	farm   *Farm
	stream *stream.Server
}

var balanceSecret = secure.NewFarm([32]byte{9})

// goes runs something until the test has ended, and waits for it.
func goes(t *testing.T, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }() // ended by stop, received in the cleanup
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func startCarrier(t *testing.T, name, dir string, c *Config, b Balance, join ...netip.AddrPort) *carrier {
	t.Helper()
	store := vdisk.NewStore(OpenStore, dir, vdisk.StoreOptions{})
	store.Scan()
	conns, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var n carrier
	var service atomic.Pointer[stream.Server]
	id := [16]byte{name[len(name)-1]}
	n.farm, err = New(Options{
		Name: name, Config: c, ID: id, Stream: conns[0].LocalAddr(), Bind: netip.MustParseAddrPort("127.0.0.1:0"), Join: join,
		PeerKeys: [][]byte{peerKey}, Stores: []*vdisk.Store{store}, Balance: b,
		Changed: func() {
			if s := service.Load(); s != nil {
				s.Refresh()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after both have ended
		if err := n.farm.Close(); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	n.stream = stream.NewServer(stream.ServerConfig{ID: id, Name: name, Farm: balanceSecret, Admitter: n.farm, Conns: conns, Epoch: 1})
	n.farm.Attach(n.stream)
	service.Store(n.stream)
	goes(t, n.stream.Run)
	goes(t, n.farm.Run)
	return &n
}

// sessions counts the targets that a server serves.
func (n *carrier) sessions() (confirmed int) {
	for _, s := range n.stream.Sessions() {
		if s.Confirmed {
			confirmed++
		}
	}
	return confirmed
}

// looker is a target that looks at the same chunk again and again.
type looker struct {
	t     *testing.T
	c     *stream.Client
	reads atomic.Int64
	mu    sync.Mutex
	moves []stream.Event // guarded by mu
}

// Fetched looks again, a little later.
func (l *looker) Fetched(f *stream.Fetch) {
	if f.Err != nil {
		if !errors.Is(f.Err, engine.ErrClosed) {
			l.t.Error(f.Err)
		}
		return
	}
	l.reads.Add(1)
	time.AfterFunc(10*time.Millisecond, func() { l.look(f) })
}

func (l *looker) look(f *stream.Fetch) {
	*f = stream.Fetch{Count: 1, Demand: true, Expect: -1, Buf: f.Buf, Owner: l}
	_, _ = l.c.Fetch(f) // fails when the test has ended
}

func startLooker(t *testing.T, i int, servers ...netip.AddrPort) *looker {
	t.Helper()
	conns, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{Refusals: true})
	if err != nil {
		t.Fatal(err)
	}
	key, err := secure.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &looker{t: t}
	l.c = stream.NewClient(stream.ClientConfig{
		Farm: balanceSecret.Public(), Device: key, Cipher: wire.CipherAES256GCM, Servers: servers, Conn: conns[0],
		Login: wire.Login{MAC: [6]byte{2, 0, 0, 0, 1, byte(i)}, VDisk: "debian12", Number: wire.NewestVersion},
		OnEvent: func(e stream.Event) {
			if e.Kind == engine.EventMoved {
				l.mu.Lock()
				l.moves = append(l.moves, e)
				l.mu.Unlock()
			}
		},
	})
	goes(t, l.c.Run)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := l.c.WaitServing(ctx); err != nil {
		t.Fatal(err)
	}
	l.look(&stream.Fetch{Buf: make([]byte, 256<<10)})
	return l
}

// Targets that all ended up on one server are spread over both, a few at a time, when the other one has served for
// the hold time; nobody is moved twice, and reads hardly notice.
func TestTargetsAreSpreadWhenAServerIsBack(t *testing.T) {
	const targets, hold = 24, 2 * time.Second
	dirs := [2]string{t.TempDir(), t.TempDir()}
	file := seal(t, dirs[0])
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dirs[1], filepath.Base(file)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	config := OpenConfig()
	config.Collections[0].Hold = hold
	pace := Balance{
		Every: time.Second, Within: 5 * time.Second, Boot: time.Millisecond,
		Pace: loadbalance.Pace{MinTargets: 20, MaxBooting: 1, MinAge: 500 * time.Millisecond, Imbalance: 1.25, Step: 0.2},
	}
	a := startCarrier(t, "lab-a", dirs[0], config, pace)
	b := startCarrier(t, "lab-b", dirs[1], config, pace, a.farm.PeerAddr())
	b.stream.StopStream(t.Context(), wire.AwayStopped, time.Second, nil)
	b.farm.Refresh()
	until(t, "a knows that b is stopped", func() bool { p, _ := a.farm.view().peer("lab-b"); return p.report.State == StreamStopped })
	var all []*looker
	for i := range targets {
		all = append(all, startLooker(t, i, a.farm.o.Stream, b.farm.o.Stream))
	}
	until(t, "all are on a", func() bool { return a.sessions() == targets })

	since := time.Now()
	if err := b.farm.StartStream(t.Context(), "lab-b"); err != nil {
		t.Fatal(err)
	}
	until(t, "the first has moved", func() bool { return b.sessions() > 0 })
	if d := time.Since(since); d < hold {
		t.Errorf("the first target moved after %v, before the hold time of %v", d, hold)
	}
	until(t, "they are spread", func() bool { return b.sessions() >= targets/3 && a.sessions()+b.sessions() == targets })
	until(t, "nobody wants more", func() bool {
		v := a.farm.view()
		for _, g := range v.crowds(a.stream.Sessions(), pace) {
			if len(loadbalance.Rebalance(g.policy, pace.Pace, v.settled(g.vdisk, g.version, a.sessions()), g.running).Moves) > 0 {
				return false
			}
		}
		return true
	})
	for range 3 { // on both sides, with the loads as they are now
		a.farm.rebalance(pace)
		b.farm.rebalance(pace)
	}
	until(t, "the reports have come", func() bool {
		p, _ := a.farm.view().peer("lab-b")
		return p.report.Sessions == b.sessions() && p.assigned == 0
	})
	moved, longest := movesOf(t, all)
	if moved < targets/3 || moved > targets/2 || b.sessions() != moved {
		t.Errorf("%d of %d targets were moved, %d are there", moved, targets, b.sessions())
	}
	if longest > 100*time.Millisecond { // ten times what a planned move may cost, for a machine that does other things
		t.Errorf("the longest pause was %v", longest)
	}
	t.Logf("%d moved in %v, longest pause %v", moved, time.Since(since).Round(time.Millisecond), longest)
}

// movesOf counts the moves from a to b, which nobody makes twice, and finds the longest pause.
func movesOf(t *testing.T, all []*looker) (moved int, longest time.Duration) {
	for _, l := range all {
		l.mu.Lock()
		moved += len(l.moves)
		if len(l.moves) > 1 {
			t.Errorf("a target was moved %d times", len(l.moves))
		}
		for _, e := range l.moves {
			longest = max(longest, e.Pause)
			if e.From != "lab-a" || e.To != "lab-b" || e.Reason != engine.ReasonRebalance {
				t.Errorf("moved %s → %s, %s", e.From, e.To, e.Reason)
			}
		}
		l.mu.Unlock()
		if l.reads.Load() == 0 {
			t.Error("a target does not read")
		}
	}
	return moved, longest
}

// A collection whose farm file says so is left alone, and so are targets that have left the farm file.
func TestOnlyTargetsThatMayBeMovedAreMoved(t *testing.T) {
	v := world(t, nil)
	d := v.peers[0].replicas[0]
	var all []stream.SessionView
	for _, device := range v.config.Devices {
		all = append(all, stream.SessionView{
			MAC: device.MAC, Confirmed: true, Disk: wire.Disk{Content: wire.Content{Root: d.Root, Timestamp: d.Timestamp}},
		})
	}
	all = append(all, all...) // each renews its session
	count := func() (n int) {
		for _, g := range v.crowds(all, Balance{}.orUsual()) {
			n += len(g.running)
		}
		return n
	}
	if n := count(); n != len(v.config.Devices) {
		t.Errorf("%d of %d devices may be moved", n, len(v.config.Devices))
	}
	for i := range v.config.Collections {
		v.config.Collections[i].Rebalance = Off
	}
	if n := count(); n != 0 {
		t.Errorf("%d devices may be moved although that is off", n)
	}
}

// A machine that boots is one that has just started, wherever it logged in first; one that runs for long is none although
// its worker has just begun a session.
func TestWhoBootsIsToldByTheUptime(t *testing.T) {
	b := Balance{}.orUsual()
	for _, c := range []struct {
		name string
		x    stream.SessionView
		want bool
	}{
		{"just logged in", stream.SessionView{Since: time.Second}, true},
		{"logged in long ago", stream.SessionView{Since: b.Boot}, false},
		{"came from elsewhere", stream.SessionView{Since: time.Second, Resumed: true}, false},
		{"was referred here in its boot", stream.SessionView{Since: time.Second, Resumed: true, Uptime: 5 * time.Second}, true},
		{"has another worker", stream.SessionView{Since: time.Second, Uptime: time.Hour}, false},
	} {
		if got := b.boots(c.x); got != c.want {
			t.Errorf("%s: boots: %v", c.name, got)
		}
	}
}
