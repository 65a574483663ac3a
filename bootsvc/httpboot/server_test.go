package httpboot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/files/filestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type lab struct {
	*Server
	t    *testing.T
	farm *filestest.Directory
	// end ends the service, stop waits for it too.
	end, stop func()
}

func start(t *testing.T) lab {
	t.Helper()
	farm := filestest.New()
	return serve(t, farm, farm)
}

// serve serves what d gives; farm keeps what is told.
func serve(t *testing.T, d bootsvc.Directory, farm *filestest.Directory) lab {
	t.Helper()
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Tree: files.New(d, filestest.Loaders(t))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop := func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return lab{Server: s, t: t, farm: farm, end: cancel, stop: stop}
}

// ask sends a request as it stands, and reads the whole answer.
func (l lab) ask(method, target string, header ...string) (*http.Response, []byte) {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", method, target)
	for _, h := range header {
		fmt.Fprintf(conn, "%s\r\n", h)
	}
	fmt.Fprint(conn, "\r\n")
	r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		l.t.Fatal(target, err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		l.t.Fatal(target, err)
	}
	return r, body
}

const kernel = "/boot/debian12%403/kernel?mac=52-54-00-77-00-01" // as iPXE writes it

func TestAKernelIsServedWholeAndInPieces(t *testing.T) {
	l := start(t)
	size := len(filestest.Kernel)
	for _, c := range []struct {
		method string
		header []string
		status int
		want   []byte
		length int
	}{
		{"GET", nil, 200, filestest.Kernel, size},
		{"HEAD", nil, 200, nil, size},
		{"GET", []string{"Range: bytes=1000-1999"}, 206, filestest.Kernel[1000:2000], 1000},
		{"GET", []string{"Range: bytes=-5"}, 206, filestest.Kernel[size-5:], 5},
		{"GET", []string{`If-Range: "feedkernel"`, "Range: bytes=0-0"}, 206, filestest.Kernel[:1], 1},
		{"GET", []string{`If-Range: "other"`, "Range: bytes=0-0"}, 200, filestest.Kernel, size},
		{"GET", []string{`If-None-Match: "feedkernel"`}, 304, nil, -1},
		{"GET", []string{"Range: bytes=999999999-"}, 416, nil, -1},
	} {
		r, body := l.ask(c.method, kernel, c.header...)
		if r.StatusCode != c.status || c.status < 300 && (!bytes.Equal(body, c.want) || r.ContentLength != int64(c.length)) {
			t.Errorf("%s %q: %s, %d bytes of %d", c.method, c.header, r.Status, len(body), r.ContentLength)
		}
		if c.status == 200 && (r.Header.Get("ETag") != `"feedkernel"` || r.Header.Get("Content-Type") != "application/octet-stream" || r.Header.Get("Cache-Control") != "no-cache") {
			t.Errorf("%s %q: %v", c.method, c.header, r.Header)
		}
	}
	e := l.farm.Event()
	l.stop()
	if l.farm.Opened() != 0 {
		t.Error("a file is still open")
	}
	if e = l.farm.Events()[0]; e.MAC != filestest.MAC || e.Problem || e.Service != "http" || !strings.Contains(e.Text, "kernel of debian12@3: 200003 bytes") {
		t.Errorf("%+v", e)
	}
	if all := l.farm.Events(); len(all) != 5 { // not those that took nothing
		t.Errorf("%d events: %+v", len(all), all)
	}
}

func TestAMachineAsksForItsScript(t *testing.T) {
	l := start(t)
	r, body := l.ask("GET", "/script/52-54-00-77-00-01?arch=x86_64&platform=efi&uuid=0011-aa")
	if r.StatusCode != 200 || !bytes.HasPrefix(body, []byte("#!ipxe\n")) || r.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%s %v\n%s", r.Status, r.Header, body)
	}
	if e := l.farm.Event(); !e.Script || e.Service != "script" || e.MAC != filestest.MAC {
		t.Errorf("%+v", e)
	}
	want := bootsvc.Client{MAC: filestest.MAC, Arch: bootsvc.ArchX64, UUID: "0011-aa", IPXE: true}
	if asked := l.farm.Asked(); len(asked) != 1 || asked[0] != want {
		t.Errorf("%+v", asked)
	}
}

// Nothing but the names of the tree is there, in whatever way somebody writes another one; the answer is one sentence.
func TestATrickGetsOneSentence(t *testing.T) {
	l := start(t)
	for target, status := range map[string]int{
		"/": 404, "/ipxe/": 404, "/../etc/passwd": 404, "//boot.ipxe": 404, "/%2e%2e/%2e%2e/etc/passwd": 404, "/ipxe/..%2fboot.ipxe": 404, "/boot.ipxe%00": 404,
		"/./boot.ipxe": 404, "/boot/..@1/kernel": 404, "/boot.ipxe/": 404, "*": 404, "http://other/etc/passwd": 404, "/boot/other@1/kernel": 404, "/grubx64.efi": 503,
		"/" + strings.Repeat("a", 4000): 404,
	} {
		r, body := l.ask("GET", target)
		text := string(body)
		if r.StatusCode != status || strings.Count(text, "\n") != 1 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") || r.Header.Get("Location") != "" {
			t.Errorf("%.60s: %s %q", target, r.Status, text)
		}
	}
	if r, _ := l.ask("POST", "/boot.ipxe", "Content-Length: 0"); r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s", r.Status)
	}
	if r, body := l.ask("GET", "/boot/other@1/kernel"); !strings.Contains(string(body), "does not hold other@1") {
		t.Errorf("%s %s", r.Status, body)
	}
	l.stop()
	if n := l.Stats(); n.Missing != 16 || n.Sent != 0 {
		t.Errorf("%+v", n)
	}
}

// stuck is a client's connection that is never read: what is written to it waits until it is closed.
type stuck struct {
	net.Listener
	conns chan net.Conn
}

func (s *stuck) Accept() (net.Conn, error) {
	c, ok := <-s.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (s *stuck) Close() error { close(s.conns); return s.Listener.Close() }

// alone starts a service with one client.
func alone(t *testing.T) (client net.Conn, farm *filestest.Directory, stop func() Stats) {
	t.Helper()
	farm = filestest.New()
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Tree: files.New(farm, filestest.Loaders(t))})
	if err != nil {
		t.Fatal(err)
	}
	in := &stuck{Listener: s.listener, conns: make(chan net.Conn, 1)}
	s.listener = in
	client, server := net.Pipe()
	in.conns <- server
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return client, farm, func() Stats {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return s.Stats()
	}
}

// halfway starts a service in which one client has taken a part of a kernel.
func halfway(t *testing.T) (client net.Conn, farm *filestest.Directory, stop func() Stats) {
	t.Helper()
	client, farm, stop = alone(t)
	fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", kernel)
	if _, err := io.ReadFull(client, make([]byte, 50_000)); err != nil {
		t.Fatal(err)
	}
	return client, farm, stop
}

// Neither does one that asks for what is not there, and does not read the answer.
func TestAClientThatDoesNotReadAnErrorIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _, stop := alone(t)
		fmt.Fprint(client, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(stallTime + time.Second)
		if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("read %d bytes, %v", n, err)
		}
		stop()
	})
}

// An address that went from one machine to the next is the next one's, whatever the other one said there.
func TestWhatAMachineLoadsIsToldOfTheOneThatHasItsAddress(t *testing.T) {
	farm := filestest.New()
	s, err := New(Config{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Tree: files.New(farm, filestest.Loaders(t)),
		MACOf: func(netip.Addr) (bootsvc.MAC, bool) { return filestest.MAC, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.listener.Close()
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/script/52-54-00-99-00-01", nil))
	if e := farm.Event(); e.MAC == filestest.MAC {
		t.Errorf("of a machine that names itself is told %+v", e)
	}
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/ipxe/snponly.efi", nil))
	if e := farm.Event(); e.MAC != filestest.MAC {
		t.Errorf("of the one that has the address is told %+v", e)
	}
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/menu.ipxe", nil))
	if e := farm.Event(); e.MAC != filestest.MAC || !e.Problem || !strings.Contains(e.Text, `asks for "/menu.ipxe"`) {
		t.Errorf("of a file that does not exist is told %+v", e)
	}
}

// A client that leaves in the middle is told to the farm as a problem.
func TestABrokenDownloadIsAProblem(t *testing.T) {
	client, farm, stop := halfway(t)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	e := farm.Event()
	if !e.Problem || e.MAC != filestest.MAC || !strings.Contains(e.Text, "broke off the kernel of debian12@3") {
		t.Errorf("%+v", e)
	}
	if n := stop(); n.Failed != 1 || n.Sent != 0 || farm.Opened() != 0 {
		t.Errorf("%+v, %d open", n, farm.Opened())
	}
}

// A client that takes nothing any more, because it was switched off, does not keep its place.
func TestAClientThatTakesNothingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, farm, stop := halfway(t)
		begin := time.Now()
		e := farm.Event()
		if took := time.Since(begin); !e.Problem || took != stallTime {
			t.Errorf("after %v: %+v", took, e)
		}
		if n := stop(); n.Failed != 1 || farm.Opened() != 0 {
			t.Errorf("%+v, %d open", n, farm.Opened())
		}
		_ = client.Close() // the server has done so already
	})
}

// A download that is running when the service ends comes to its end.
func TestADownloadSurvivesAPlannedStop(t *testing.T) {
	l := start(t)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", kernel)
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	l.end()
	if body, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(body, filestest.Kernel) {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	l.stop()
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("still listening")
	}
}
