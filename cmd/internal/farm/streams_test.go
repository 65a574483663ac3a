package farm

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk"
	"github.com/spate-project/spate/vdisk/tree"
)

// streams is a stream service that moves its sessions when it is told to.
type streams struct {
	mu       sync.Mutex // guards the fields below
	sessions []stream.SessionView
	stopped  bool
	stuck    chan struct{} // when not nil: StopStream closes it, and its targets do not move
}

func (s *streams) Sessions() []stream.SessionView {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sessions)
}

// serves puts targets there.
func (s *streams) serves(list ...stream.SessionView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = list
}

// sticks makes the next stop one that no target follows; the channel is closed when it has begun.
func (s *streams) sticks() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = make(chan struct{})
	return s.stuck
}

func (s *streams) Stats() stream.ServerStats { return stream.ServerStats{} }
func (s *streams) Streaming() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.stopped
}
func (s *streams) StartStream() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = false
}
func (s *streams) Propose([]stream.Proposal, time.Duration) int { return 0 }

func (s *streams) Epoch() uint32     { return 0 }
func (s *streams) LearnEpoch(uint32) {}
func (s *streams) StopStream(ctx context.Context, _ wire.GoingAwayReason, _ time.Duration, progress func(stream.Drained)) stream.Drained {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.stuck != nil {
		n := len(s.sessions)
		s.mu.Unlock()
		close(s.stuck)
		<-ctx.Done()
		s.mu.Lock()
		return stream.Drained{Total: n + 1, Left: n, Silent: 1}
	}
	d := stream.Drained{Total: len(s.sessions)}
	for range s.sessions {
		d.Moved++
		d.Left = d.Total - d.Moved
		d.LongestPause = 3 * time.Millisecond
		progress(d)
	}
	s.sessions = nil
	return d
}

// startFarm runs an open farm's server on loopback with a store of its own.
func startFarm(t *testing.T, name, store string, join ...netip.AddrPort) (*Farm, *streams) {
	t.Helper()
	s := vdisk.NewStore(OpenStore, store, vdisk.StoreOptions{})
	s.Scan()
	f, err := New(Options{
		Name: name, Config: OpenConfig(), ID: [16]byte{name[0]}, Stream: netip.MustParseAddrPort("192.0.2.1:6910"),
		Bind: netip.MustParseAddrPort("127.0.0.1:0"), Join: join, PeerKeys: [][]byte{peerKey}, Stores: []*vdisk.Store{s},
	})
	if err != nil {
		t.Fatal(err)
	}
	local := &streams{}
	f.Attach(local)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }() // ended by stop, received in the cleanup
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return f, local
}

// seal puts a small vDisk into a folder and returns its file.
func seal(t *testing.T, dir string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(image, []byte(strings.Repeat("spate ", 20_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := vdisk.Import(t.Context(), vdisk.ImportOptions{Source: image, Into: dir, Name: "debian12", Codec: tree.CodecZstd})
	if err != nil {
		t.Fatal(err)
	}
	return s.Path
}

func who(login wire.Login) stream.Who {
	return engine.Who{Key: secure.PublicKey{1}, MAC: [6]byte{2, 0, 0, 0, 0, 7}, Addr: netip.MustParseAddrPort("192.0.2.50:1000"), Login: login}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %s: %s", patience, what)
}
