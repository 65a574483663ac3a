package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/admin/admintest"
	"github.com/spate-project/spate/cmd/internal/farm"
)

// steps are n targets of lab-a that move one after the other; two of them have nowhere to go.
func steps(n int) []farm.StopProgress {
	var all []farm.StopProgress
	for i := range n + 1 {
		all = append(all, farm.StopProgress{Server: "lab-a", Total: n, Moved: i, Left: n - i, Stranded: []string{"pc-1", "pc-2"}})
	}
	all[n].Done, all[n].LongestPause = true, 3*time.Millisecond
	return all
}

// Who waits sees the targets move while they do, the names of stranded ones all the time, and the end once.
func TestProgressArrivesWhileItHappens(t *testing.T) {
	f := &admintest.Farm{Stop: steps(3)}
	seen := make(chan int)
	f.Between = func(step int) {
		if step == 0 {
			<-seen // the farm goes on only after the first step was seen at the other end
		}
	}
	var got []farm.StopProgress
	last, err := socket(t, f).StopStream(t.Context(), farm.StopRequest{Server: "lab-a"}, func(p farm.StopProgress) {
		if got = append(got, p); len(got) == 1 {
			close(seen)
		}
		if !slices.Equal(p.Stranded, f.Stop[0].Stranded) || p.Done {
			t.Errorf("seen %+v", p)
		}
	})
	if err != nil || !last.Done || last.Moved != 3 || last.LongestPause != 3*time.Millisecond || got[0].Left != 3 {
		t.Errorf("%+v, %v, seen %+v", last, err, got)
	}
}

// Whoever stops waiting ends the wait at the farm, too, and nobody hangs.
func TestCancelReachesTheFarm(t *testing.T) {
	f := &admintest.Farm{Stop: steps(3), Hold: true}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := socket(t, f).StopStream(ctx, farm.StopRequest{Server: "lab-a"}, func(farm.StopProgress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	} // the farm's own wait has ended when the server ends, which goleak checks
}

// A server that shuts down in the middle of a stop says so in the last line.
func TestAServerThatEndsEndsTheStream(t *testing.T) {
	f := &admintest.Farm{Stop: steps(3), Hold: true}
	path := filepath.Join(t.TempDir(), SocketName)
	s, err := NewServer(Options{Service: f.Service(), Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	c, err := dial(path, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	last, err := c.StopStream(t.Context(), farm.StopRequest{Server: "lab-a"}, func(farm.StopProgress) { stop() })
	if farm.CodeOf(err) != farm.ErrorUnavailable || last.Total != 3 {
		t.Errorf("%+v, %v", last, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A connection that breaks before the last line leaves the outcome open, and says where to look.
func TestABrokenStreamIsNoEnd(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), SocketName))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(stopLine{Progress: steps(3)[1]})
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})}
	var ended sync.WaitGroup
	ended.Go(func() { s.Serve(l) })
	defer ended.Wait()
	defer s.Close()
	c, err := dial(l.Addr().String(), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	last, err := c.StopStream(t.Context(), farm.StopRequest{Server: "lab-a"}, nil)
	if farm.CodeOf(err) != farm.ErrorUnavailable || !strings.Contains(err.Error(), "spate server list") || last.Moved != 1 {
		t.Errorf("%+v, %v", last, err)
	}
}

// pipes lets a client and a server of one bubble talk through memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// bubble connects a client to a handler inside a synctest bubble. The returned function ends both.
func bubble(h http.Handler) (*client, func()) {
	p := make(pipes)
	s := &http.Server{Handler: h}
	go s.Serve(p)
	c := &client{place: place{sockets: []string{"pipe"}}, silence: 10 * beatEvery}
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		p <- theirs
		return ours, nil
	}}
	c.http = &http.Client{Transport: t}
	return c, func() { close(p); s.Close(); t.CloseIdleConnections() }
}

// A stop in which nothing moves for an hour is watched for an hour: the beats keep it alive.
func TestBeatsKeepAQuietStopAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &admintest.Farm{Stop: steps(2)}
		f.Between = func(int) { time.Sleep(30 * time.Minute) }
		c, end := bubble(newAPI(&handlers{service: f.Service(), log: zap.NewNop(), beat: beatEvery}))
		defer end()
		begin, seen := time.Now(), 0
		last, err := c.StopStream(t.Context(), farm.StopRequest{Server: "lab-a"}, func(farm.StopProgress) { seen++ })
		if took := time.Since(begin); err != nil || !last.Done || seen != 2 || took < time.Hour || took > time.Hour+2*beatEvery {
			t.Errorf("%+v, %v, seen %d after %v", last, err, seen, took)
		}
	})
}

// A server that says nothing any more is given up after ten beats.
func TestASilentServerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &admintest.Farm{Stop: steps(2), Hold: true}
		c, end := bubble(newAPI(&handlers{service: f.Service(), log: zap.NewNop(), beat: time.Hour}))
		defer end()
		begin := time.Now()
		_, err := c.StopStream(t.Context(), farm.StopRequest{Server: "lab-a"}, nil)
		if took := time.Since(begin); took != 10*beatEvery || farm.CodeOf(err) != farm.ErrorUnavailable || !strings.Contains(err.Error(), "nothing for 10s") {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// A thousand targets that move within a moment are a few lines, of which the last one has everything.
func TestManyStepsAreFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &admintest.Farm{Stop: steps(1000)}
		f.Between = func(int) { time.Sleep(time.Millisecond) }
		c, end := bubble(newAPI(&handlers{service: f.Service(), log: zap.NewNop(), beat: beatEvery}))
		defer end()
		resp, err := c.send(t.Context(), http.MethodPost, pathStopStream, farm.StopRequest{Server: "lab-a"})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var lines []stopLine
		for d := json.NewDecoder(resp.Body); ; {
			var line stopLine
			if d.Decode(&line) != nil {
				break
			}
			lines = append(lines, line)
		}
		if n := len(lines); n < 5 || n > 15 || !lines[n-1].End || lines[n-1].Progress.Moved != 1000 || len(lines[1].Progress.Stranded) != 0 {
			t.Errorf("%d lines, the last %+v", len(lines), lines[len(lines)-1])
		}
	})
}
