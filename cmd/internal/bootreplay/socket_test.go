package bootreplay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/nbd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ram is a Device in memory.
type ram struct {
	mu    sync.RWMutex // guards bytes
	bytes []byte
	bad   int64 // the offset that cannot be read; 0 for none
}

func (r *ram) Size() int64 { return int64(len(r.bytes)) }
func (r *ram) BlockSizes() blockdev.BlockSizes {
	return blockdev.BlockSizes{Minimum: 1, Preferred: 4096}
}
func (r *ram) ReadOnly() bool              { return false }
func (r *ram) Flush(context.Context) error { return nil }
func (r *ram) ReadAt(_ context.Context, p []byte, off int64) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.bad > 0 && off == r.bad {
		return errBad
	}
	copy(p, r.bytes[off:])
	return nil
}
func (r *ram) WriteAt(_ context.Context, p []byte, off int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	copy(r.bytes[off:], p)
	return nil
}
func (r *ram) Trim(ctx context.Context, off, length int64) error {
	return r.WriteZeroes(ctx, off, length)
}
func (r *ram) WriteZeroes(ctx context.Context, off, length int64) error {
	return r.WriteAt(ctx, make([]byte, length), off)
}

func newRAM() *ram {
	r := &ram{bytes: make([]byte, 1<<20)}
	for i := range r.bytes {
		r.bytes[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return r
}

// serve shows d on a socket until the test ends.
func serve(t *testing.T, d blockdev.Device) (addr string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := blockdev.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := blockdev.NewServer(d, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, l) }() // ends with the test
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "unix:" + path
}

func open(t *testing.T, addr string) *nbd.Client {
	t.Helper()
	n, err := nbd.Open(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// What was recorded of one NBD client is read again by another one, byte for byte; the recording holds what the first one
// did, in order.
func TestWhatIsRecordedBehindASocketIsReplayedThroughOne(t *testing.T) {
	disk := newRAM()
	want := bytes.Clone(disk.bytes)
	recorder := NewRecorder(disk)
	n := open(t, serve(t, recorder))
	if n.Size() != int64(len(want)) {
		t.Errorf("the disk has %d bytes", n.Size())
	}
	var all sync.WaitGroup
	for i := range int64(64) {
		all.Go(func() {
			p := make([]byte, 100+i*37)
			if err := n.ReadAt(t.Context(), p, i*15000); err != nil || !bytes.Equal(p, want[i*15000:][:len(p)]) {
				t.Errorf("read %d: %v", i, err)
			}
		})
	}
	all.Wait()
	r, err := recorder.Recording()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.check(); err != nil {
		t.Error(err)
	}
	check := func(p []byte, off int64) error {
		if !bytes.Equal(p, want[off:][:len(p)]) {
			return fmt.Errorf("%d other bytes at %d", len(p), off)
		}
		return nil
	}
	got, err := Replay(t.Context(), r, open(t, serve(t, disk)), Options{Check: check})
	if err != nil || got.Reads != 64 || got.Bytes != r.Stats().ReadBytes {
		t.Errorf("%+v, %v; recorded: %v", got, err, r.Stats())
	}
}

// Each operation is noted as what it is and reaches the disk; after one that has failed there is no recording.
func TestTheRecorderNotesEveryOperation(t *testing.T) {
	disk := newRAM()
	r := NewRecorder(disk)
	ctx := t.Context()
	p := make([]byte, 4096)
	if err := errors.Join(r.WriteAt(ctx, p, 4096), r.Trim(ctx, 8192, 4096), r.WriteZeroes(ctx, 12288, 4096), r.Flush(ctx), r.ReadAt(ctx, p, 0)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(disk.bytes[4096:16384], make([]byte, 12288)) {
		t.Error("writes did not reach the disk")
	}
	got, err := r.Recording()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for _, q := range got.Requests {
		fmt.Fprintf(&said, "%s %d %d;", q.Op, q.Offset, q.Length)
	}
	if want := "write 4096 4096;trim 8192 4096;zero 12288 4096;flush 0 0;read 0 4096;"; said.String() != want {
		t.Errorf("noted %s", said.String())
	}
	disk.bad = 512
	if err := r.ReadAt(ctx, p, 512); !errors.Is(err, errBad) {
		t.Errorf("a bad sector: %v", err)
	}
	if _, err := r.Recording(); !errors.Is(err, errBad) {
		t.Errorf("a recording with a read that has failed: %v", err)
	}
}
