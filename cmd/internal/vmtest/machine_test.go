//go:build system

package vmtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/blockdev"
)

const patience = 3 * time.Minute

func open(t *testing.T, path string) image {
	t.Helper()
	f, err := openImage(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// show shows base with a write cache on a socket until the test ends.
func show(t *testing.T, base blockdev.Device) (string, *blockdev.Server, *blockdev.WriteCache) {
	t.Helper()
	cache, err := blockdev.NewWriteCache(base, 512<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	server, err := blockdev.NewServer(cache, blockdev.Options{Name: "debian", Note: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "nbd")
	listener, err := blockdev.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- server.Serve(ctx, listener) }() // ends with the test
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return socket, server, cache
}

// A Debian machine boots from our NBD socket, writes into our write cache, works its disk hard, and sees no error; the
// image under it stays as it is.
func TestAMachineBootsAndWorksOnTheWriteCache(t *testing.T) {
	start := time.Now()
	files := Fixture(t)
	t.Logf("fixture: %v", time.Since(start).Round(time.Millisecond))
	before := sum(t, files.Root)
	socket, server, cache := show(t, open(t, files.Root))

	m := Boot(t, socket, Options{})
	m.WaitMark("init", patience)
	t.Logf("init runs from the disk after %v", m.Uptime().Round(time.Millisecond))
	m.WaitRounds(4, patience)
	m.Stop()
	m.WaitDone(patience)
	t.Logf("powered off after %v and %d rounds", m.Uptime().Round(time.Millisecond), m.Rounds())
	s := server.Stats()
	t.Logf("NBD: %+v", s)
	t.Logf("write cache: %+v", cache.Stats())
	if s.Failures > 0 {
		t.Errorf("%d requests failed", s.Failures)
	}
	if s.WriteBytes < 16<<20 || s.ReadBytes < 64<<20 || s.ZeroBytes < 64<<20 {
		t.Errorf("the machine hardly used its disk: %+v", s)
	}
	if sum(t, files.Root) != before {
		t.Error("the image was changed")
	}
}

// spoiled is a disk that goes bad when it is told to.
type spoiled struct {
	image
	bad  atomic.Bool
	fail func(p []byte) error
}

func (s *spoiled) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := s.image.ReadAt(ctx, p, off); err != nil || !s.bad.Load() {
		return err
	}
	return s.fail(p)
}

// What this package is for: a read that fails and a byte that is wrong are both noticed in the machine.
func TestAMachineNoticesWhenItsDiskIsBad(t *testing.T) {
	files := Fixture(t)
	for name, fail := range map[string]func(p []byte) error{
		"I/O error": func([]byte) error { return errors.New("no good copy") },
		"MARK bad": func(p []byte) error {
			for i := range p {
				p[i] ^= 0x10
			}
			return nil
		},
	} {
		disk := &spoiled{image: open(t, files.Root), fail: fail}
		socket, _, _ := show(t, disk)
		m := Boot(t, socket, Options{})
		m.WaitRounds(1, patience)
		disk.bad.Store(true)
		if p := m.WaitProblem(patience); name == "I/O error" && !strings.Contains(p, name) {
			t.Errorf("%s: the machine says\n%s", name, p)
		}
		m.Kill()
	}
}
