package stream

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

// memoryImage is a vDisk of raw chunks in memory.
type memoryImage struct {
	disk  wire.Disk
	bytes []byte
	some  bool // is not all in memory
}

func (m *memoryImage) Disk() wire.Disk        { return m.disk }
func (m *memoryImage) Store() string          { return "memory" }
func (m *memoryImage) Check(int, int64) error { return nil }

func (m *memoryImage) ReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, error) {
	if level != 0 {
		return 0, 0, errors.New("no pages here")
	}
	c := int64(m.disk.ChunkSize)
	whole := m.bytes[first*c : (first+int64(count))*c]
	return copy(p, whole[from:]), int64(len(whole)), nil
}

// TryReadAnswer has all chunks in memory but each third, so that reads are answered by the receive loop and by the
// pool, in one session.
func (m *memoryImage) TryReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, bool) {
	if m.some && first%3 == 0 {
		return 0, 0, false
	}
	n, total, err := m.ReadAnswer(p, level, first, count, from)
	return n, total, err == nil
}

func newMemoryImage(size int) *memoryImage {
	m := &memoryImage{some: true, bytes: make([]byte, size), disk: wire.Disk{
		Name: "memory", Number: 1, Size: int64(size), SectorSize: 512, ChunkSize: 16 << 10, Levels: 2, Mode: wire.ModeStandard,
		Content: wire.Content{Timestamp: 7},
	}}
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(m.bytes)
	return m
}

// openAdmitter lets everyone in.
type openAdmitter struct {
	image      *memoryImage
	alternates []wire.Alternate
}

func (a *openAdmitter) Admit(Who) Decision {
	return Decision{Result: wire.ResultAccept, Disk: a.image.disk, Image: a.image}
}
func (a *openAdmitter) Confirmed(*Session) {}
func (a *openAdmitter) Ended(*Session)     {}
func (a *openAdmitter) Alternates(Who, wire.Content) wire.Alternates {
	return wire.Alternates{List: a.alternates}
}

// testFarm runs servers on loopback.
type testFarm struct {
	farm    *secure.Farm
	image   *memoryImage
	servers []*Server
	addrs   []netip.AddrPort
	stop    []func()
}

func startFarm(t testing.TB, servers, size int) *testFarm {
	f := &testFarm{farm: secure.NewFarm([32]byte{9}), image: newMemoryImage(size)}
	conns := make([][]udp.Conn, servers)
	for i := range servers {
		var err error
		if conns[i], err = udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{}); err != nil {
			t.Fatal(err)
		}
		f.addrs = append(f.addrs, conns[i][0].LocalAddr())
	}
	for i := range servers {
		a := &openAdmitter{image: f.image}
		for j := range servers {
			if i != j {
				a.alternates = append(a.alternates, wire.Alternate{Name: serverName(j), ID: ServerID{byte(j + 1)}, Addr: f.addrs[j], State: wire.StateServing})
			}
		}
		s := NewServer(ServerConfig{
			ID: ServerID{byte(i + 1)}, Name: serverName(i), Farm: f.farm, Admitter: a, Conns: conns[i], Epoch: 1, Log: zaptest.NewLogger(t),
		})
		f.servers = append(f.servers, s)
		f.stop = append(f.stop, run(t, s.Run))
	}
	return f
}

func serverName(i int) string { return string(rune('a' + i)) }

// run starts something that ends with its context, and returns what ends it.
func run(t testing.TB, f func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (f *testFarm) client(t testing.TB, event func(Event)) *Client {
	c, _ := f.startClient(t, event)
	return c
}

// startClient gives a client and what ends it.
func (f *testFarm) startClient(t testing.TB, event func(Event)) (*Client, func()) {
	t.Helper()
	conns, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{Refusals: true})
	if err != nil {
		t.Fatal(err)
	}
	key, err := secure.GenerateKey(rand.NewChaCha8([32]byte{3}))
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(ClientConfig{
		Farm: f.farm.Public(), Device: key, Cipher: wire.CipherAES256GCM, Servers: f.addrs, Conn: conns[0], OnEvent: event,
		Login: wire.Login{MAC: [6]byte{2, 0, 0, 0, 0, 1}, VDisk: "memory", Number: wire.NewestVersion},
	})
	return c, run(t, c.Run)
}

// reader keeps fetches under way over the whole image, round and round.
type reader struct {
	t     testing.TB
	c     *Client
	image *memoryImage
	mu    sync.Mutex
	next  int64 // guarded by mu, like all below
	left  int
	open  int
	wrong int
	done  chan struct{}
}

const testRun = 8 // chunks a fetch

func (r *reader) Fetched(f *Fetch) {
	c := int64(r.image.disk.ChunkSize)
	good := f.Err == nil && bytes.Equal(f.Buf[:f.Total], r.image.bytes[f.First*c:(f.First+int64(f.Count))*c])
	r.mu.Lock()
	if !good {
		r.wrong++
		r.t.Errorf("fetch of %d: %v", f.First, f.Err)
	}
	r.open--
	again := r.left > 0
	if again {
		r.prepare(f)
	} else if r.open == 0 {
		close(r.done)
	}
	r.mu.Unlock()
	if again {
		if _, err := r.c.Fetch(f); err != nil {
			r.t.Error(err)
		}
	}
}

func (r *reader) prepare(f *Fetch) {
	n := r.image.disk.Size / int64(r.image.disk.ChunkSize)
	f.First = r.next
	r.next = (r.next + testRun) % n
	r.left--
	r.open++
}

// read reads fetches pieces of testRun chunks, depth at a time.
func (r *reader) read(fetches, depth int) {
	r.done = make(chan struct{})
	r.left = fetches
	list := make([]*Fetch, depth)
	r.mu.Lock()
	for i := range list {
		list[i] = &Fetch{Count: testRun, Demand: true, Expect: -1, Buf: make([]byte, testRun*int(r.image.disk.ChunkSize)), Owner: r}
		r.prepare(list[i])
	}
	r.mu.Unlock()
	if _, err := r.c.Fetch(list...); err != nil {
		r.t.Fatal(err)
	}
	<-r.done
}

// A target reads every byte right from a real server over loopback.
func TestReadsAreRightOverLoopback(t *testing.T) {
	f := startFarm(t, 1, 16<<20)
	c := f.client(t, nil)
	if _, err := c.WaitServing(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, c: c, image: f.image}
	r.read(512, 8)
	t.Logf("%+v", c.Snapshot())
}

// When a client has ended, its server knows.
func TestAClientThatEndsIsGone(t *testing.T) {
	f := startFarm(t, 1, 1<<20)
	for range 5 {
		c, stop := f.startClient(t, nil)
		if _, err := c.WaitServing(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		if list := f.servers[0].Sessions(); len(list) > 0 {
			t.Errorf("the server has %+v", list)
		}
	}
}

// A server that is stopped sends its target to the other one, which notices nothing.
func TestStopMovesTheTarget(t *testing.T) {
	f := startFarm(t, 2, 16<<20)
	var mu sync.Mutex
	var moves []Event
	c := f.client(t, func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == engine.EventMoved {
			moves = append(moves, e)
		}
	})
	if _, err := c.WaitServing(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, c: c, image: f.image}
	r.read(8, 1) // an answer to a sealed datagram: from here on the server counts this target
	reading := make(chan struct{})
	go func() { defer close(reading); r.read(4096, 8) }()
	serving := 0
	if c.Snapshot().Server == "b" {
		serving = 1
	}
	d := f.servers[serving].StopStream(t.Context(), wire.AwayStopped, 10*time.Second, nil)
	if d.Moved != 1 || d.Left != 0 {
		t.Errorf("stop: %+v", d)
	}
	<-reading
	mu.Lock()
	defer mu.Unlock()
	if len(moves) != 1 || moves[0].Reason != engine.ReasonGoingAway {
		t.Errorf("moves: %+v", moves)
	}
	t.Logf("%+v %+v", d, moves)
}

func BenchmarkPull(b *testing.B) {
	f := startFarm(b, 1, 64<<20)
	f.image.some = false
	c := f.client(b, nil)
	if _, err := c.WaitServing(b.Context()); err != nil {
		b.Fatal(err)
	}
	r := &reader{t: b, c: c, image: f.image}
	b.SetBytes(testRun * 16 << 10)
	b.ResetTimer()
	r.read(b.N, min(32, b.N))
	b.StopTimer()
	b.Logf("%+v", c.Snapshot())
}

// A server that dies under load costs one pause of about a tenth of a second and no read.
func TestDeathOfTheServerIsSurvived(t *testing.T) {
	f := startFarm(t, 2, 16<<20)
	moved := make(chan Event, 8)
	c := f.client(t, func(e Event) {
		if e.Kind == engine.EventMoved {
			moved <- e
		}
	})
	if _, err := c.WaitServing(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, c: c, image: f.image}
	reading := make(chan struct{})
	go func() { defer close(reading); r.read(8192, 8) }()
	serving := 0
	if c.Snapshot().Server == "b" {
		serving = 1
	}
	f.stop[serving]()
	e := <-moved
	<-reading
	if e.Reason != engine.ReasonSilent || e.Pause > time.Second {
		t.Errorf("%+v", e)
	}
	t.Logf("pause %v, %+v", e.Pause, c.Snapshot().Stats)
}

// BenchmarkOneChunk is the round trip of a single demand read, one at a time.
func BenchmarkOneChunk(b *testing.B) {
	f := startFarm(b, 1, 64<<20)
	f.image.some = false
	c := f.client(b, nil)
	if _, err := c.WaitServing(b.Context()); err != nil {
		b.Fatal(err)
	}
	o := &one{done: make(chan struct{}, 1)}
	fetch := &Fetch{Count: 1, Demand: true, Expect: -1, Buf: make([]byte, 16<<10), Owner: o}
	b.ResetTimer()
	for i := range b.N {
		fetch.First = int64(i*7919) % 4096
		if _, err := c.Fetch(fetch); err != nil {
			b.Fatal(err)
		}
		<-o.done
	}
}

type one struct{ done chan struct{} }

func (o *one) Fetched(*Fetch) { o.done <- struct{}{} }
