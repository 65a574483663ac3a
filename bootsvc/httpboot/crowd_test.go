package httpboot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/netutil"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/files/filestest"
)

// network is a listener and the way to it: what the system has accepted waits in backlog, and when that is full the machine's
// TCP asks again after a second, two, four.
type network struct {
	net.Listener
	backlog chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.backlog:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return n.Listener.Close()
}

var errNoAnswer = errors.New("no answer")

func (n *network) dial() (net.Conn, error) {
	client, server := net.Pipe()
	for again := time.Second; again <= 4*time.Second; again *= 2 {
		select {
		case n.backlog <- server:
			return client, nil
		default:
			time.Sleep(again)
		}
	}
	return nil, errNoAnswer
}

// pc is a machine whose iPXE loads script, kernel and boot image. When nothing comes for 5 s it gives up that file, as the
// script tells it (--timeout), and begins another round after 5 s.
type pc struct {
	link  *network
	slow  time.Duration // between two parts of a file: what its share of the cable is
	loads []load
}

type load struct {
	path string
	want func([]byte) bool
}

func (p *pc) boot() (rounds int, err error) {
	for rounds = 1; rounds <= 30; rounds++ {
		if err = p.round(); err == nil || errors.Is(err, errRefused) {
			return rounds, err
		}
		time.Sleep(5 * time.Second)
	}
	return rounds, err
}

func (p *pc) round() error {
	for _, l := range p.loads {
		body, err := p.load(l.path)
		if err != nil {
			return err
		}
		if !l.want(body) {
			return fmt.Errorf("%w: %s has %d bytes that it should not have", errRefused, l.path, len(body))
		}
	}
	return nil
}

var errRefused = errors.New("refused")

func (p *pc) load(path string) ([]byte, error) {
	const patience = 5 * time.Second
	conn, err := p.link.dial()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		return nil, errNoAnswer
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, errNoAnswer
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s: %s", errRefused, path, r.Status)
	}
	var body bytes.Buffer
	for {
		_ = conn.SetDeadline(time.Now().Add(patience))
		switch _, err := io.CopyN(&body, r.Body, 64<<10); {
		case errors.Is(err, io.EOF):
			return body.Bytes(), nil
		case err != nil:
			return nil, err
		}
		time.Sleep(p.slow)
	}
}

// quiet is a farm that only counts what it is told.
type quiet struct {
	*filestest.Directory
	mu       sync.Mutex
	problems []string // guarded by mu
}

func (q *quiet) Note(e bootsvc.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.Problem {
		q.problems = append(q.problems, e.Text)
	}
}

// switchOn has so many machines boot within one second from a service that serves so many connections at once, and gives how long
// the last one took and how many rounds they needed at most.
func switchOn(t *testing.T, machines, connections int) (took time.Duration, rounds int, farm *quiet) {
	t.Helper()
	farm = &quiet{Directory: filestest.New()}
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Tree: files.New(farm, filestest.Loaders(t))})
	if err != nil {
		t.Fatal(err)
	}
	link := &network{Listener: s.listener, backlog: make(chan net.Conn, 4096), closed: make(chan struct{})}
	s.listener = netutil.LimitListener(link, connections)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // ended and waited for below
	loads := []load{
		{"/script/52-54-00-77-00-01?arch=x86_64&platform=efi", func(b []byte) bool { return bytes.HasPrefix(b, []byte("#!ipxe\n")) }},
		{"/boot/debian12@3/image?mac=52-54-00-77-00-01", func(b []byte) bool { return bytes.Equal(b, filestest.Image) }},
		{"/boot/debian12@3/kernel?mac=52-54-00-77-00-01", func(b []byte) bool { return bytes.Equal(b, filestest.Kernel) }},
	}
	begin, random := time.Now(), rand.New(rand.NewPCG(1, 1))
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := range machines {
		wait := time.Duration(random.Int64N(int64(time.Second)))
		all.Go(func() {
			time.Sleep(wait)
			p := pc{link: link, slow: 300 * time.Millisecond, loads: loads}
			n, err := p.boot()
			mu.Lock()
			defer mu.Unlock()
			if rounds = max(rounds, n); err != nil {
				t.Errorf("machine %d, round %d: %v", i, n, err)
			}
		})
	}
	all.Wait()
	took = time.Since(begin)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return took, rounds, farm
}

// A thousand machines that are switched on in the same second load script, kernel and boot image; each at its first try.
func TestAThousandMachinesAtOnceAllArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took, rounds, farm := switchOn(t, 1000, MaxConnections)
		if rounds != 1 || took > 5*time.Second || len(farm.problems) != 0 {
			t.Errorf("after %v and %d rounds, %q", took, rounds, farm.problems)
		}
	})
}

// Far beyond what is served at once machines wait in the system's queue, and those who wait for too long come back by their
// scripts' own rounds: nobody is refused, everybody arrives, and nothing is told as a problem.
func TestMachinesBeyondTheBoundComeBackAndArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took, rounds, farm := switchOn(t, 1000, 50)
		if rounds == 1 || took > 3*time.Minute {
			t.Errorf("after %v and %d rounds", took, rounds)
		}
		for _, p := range farm.problems {
			if !strings.Contains(p, "broke off") {
				t.Errorf("told %q", p)
			}
		}
	})
}
