package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

// patience is how long a test waits for what takes a moment.
const patience = 30 * time.Second

// runStatus runs `spate-target status` and returns what it printed and its exit code.
func runStatus(t *testing.T) (text string, code int) {
	t.Helper()
	text, said, code := runLine(t, "status")
	if said != "" {
		t.Fatal(said)
	}
	return text, code
}

// awaitStatus runs status until it ends with this code.
func awaitStatus(t *testing.T, want int) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text, code := runStatus(t)
		if code == want {
			return text
		}
		if time.Now().After(deadline) {
			t.Fatalf("status ended with %d, want %d:\n%s", code, want, text)
		}
	}
}

// everyone is an admitter that serves a vDisk of which nobody reads anything.
type everyone struct{}

func (everyone) disk() wire.Disk {
	return wire.Disk{Name: "debian12", Number: 3, Size: 1 << 20, SectorSize: 512, ChunkSize: 16 << 10, Levels: 1, Mode: wire.ModeStandard}
}
func (e everyone) Admit(stream.Who) stream.Decision {
	return stream.Decision{Result: wire.ResultAccept, Disk: e.disk(), Image: image{e.disk()}}
}
func (everyone) Confirmed(*stream.Session)                               {}
func (everyone) Ended(*stream.Session)                                   {}
func (everyone) Alternates(stream.Who, wire.Content) (a wire.Alternates) { return a }

type image struct{ disk wire.Disk }

func (i image) Disk() wire.Disk        { return i.disk }
func (i image) Store() string          { return "main" }
func (i image) Check(int, int64) error { return nil }
func (i image) ReadAnswer([]byte, int, int64, int, int64) (int, int64, error) {
	return 0, 0, errors.New("nothing lies here")
}

// inBackground runs f until the test ends or stop is called.
func inBackground(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var ended bool
	stop = func() {
		if cancel(); ended {
			return
		}
		ended = true
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// Scripts wait for an attachment by the exit code of status: 3 nothing is attached, 2 it waits for a server, also for its
// first one, 0 it is served.
func TestStatusEndsWithWhatItFound(t *testing.T) {
	t.Setenv(agent.FolderVariable, t.TempDir())
	if text, code := runStatus(t); code != 3 || text != "no vDisk is attached to this machine\n" {
		t.Errorf("before the attach: exit code %d, %q", code, text)
	}
	farm := secure.NewFarm([32]byte{7})
	conns, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := conns[0].LocalAddr()
	detach := inBackground(t, func(ctx context.Context) error {
		return run(ctx, streams{io.Discard, io.Discard}, []string{"attach", "--nbd-socket", filepath.Join(t.TempDir(), "s"), "--server", server.String(),
			"--farm-key", farm.Public().String(), "--vdisk", "debian12@3", "--mac", "02:00:00:00:00:01"})
	})
	if text := awaitStatus(t, 2); !strings.HasPrefix(text, "server     none   ") || !strings.Contains(text, "debian12@3   not seen yet") {
		t.Errorf("while there is no server:\n%s", text)
	}
	s := stream.NewServer(stream.ServerConfig{
		ID: stream.ServerID{1}, Name: "lab-a", Farm: farm, Admitter: everyone{}, Conns: conns, Epoch: 1,
	})
	end := inBackground(t, s.Run)
	if text := awaitStatus(t, 0); !strings.HasPrefix(text, "server     lab-a  "+server.String()) || !strings.Contains(text, "debian12 @ 3   standard") {
		t.Errorf("while lab-a serves:\n%s", text)
	}
	// A stop asks those to go whose log-in is complete.
	for deadline := time.Now().Add(patience); !s.Sessions()[0].Confirmed; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log-in was never complete")
		}
	}
	s.StopStream(t.Context(), wire.AwayStopped, 0, nil)
	if text := awaitStatus(t, 2); !strings.HasPrefix(text, "server     none   ") || !strings.Contains(text, "debian12 @ 3   standard") {
		t.Errorf("after the server has gone:\n%s", text)
	}
	detach()
	awaitStatus(t, 3)
	end()
}
