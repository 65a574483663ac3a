package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/keyfile"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// tokenFile writes a token and returns its path.
func tokenFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if _, _, err := keyfile.ReadOrCreate(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeCertificate writes a certificate for 127.0.0.1 that signs itself.
func writeCertificate(t *testing.T, file, keyFile string, number int64, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: "lab-a"}, NotBefore: time.Unix(0, 0), NotAfter: until,
		IPAddresses: []net.IP{{127, 0, 0, 1}}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{file: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// secured serves a farm over TLS and returns its options and its place.
func secured(t *testing.T) (Options, string) {
	t.Helper()
	dir := t.TempDir()
	o := Options{
		Service: full(t).Service(), Addr: loopback, TokenFile: tokenFile(t), Certificate: filepath.Join(dir, "cert.pem"), PrivateKey: filepath.Join(dir, "key.pem"),
	}
	writeCertificate(t, o.Certificate, o.PrivateKey, 1, time.Now().Add(time.Hour))
	s := serve(t, o)
	return o, "https://" + s.Addrs()[0].String()
}

// Over TLS a request passes with the server's token and the server's certificate, and with nothing less.
func TestTLSWantsTheTokenAndTheCertificate(t *testing.T) {
	o, where := secured(t)
	try := func(where string, d DialOptions) error {
		t.Helper()
		c, err := Dial(where, d)
		if err == nil {
			_, err = c.Servers(t.Context())
		}
		return err
	}
	good := DialOptions{TokenFile: o.TokenFile, CAFile: o.Certificate}
	if err := try(where, good); err != nil {
		t.Fatal(err)
	}
	if err := try(strings.TrimPrefix(where, "https://"), good); err != nil {
		t.Errorf("without https:// %v", err)
	}
	for says, c := range map[string]struct {
		where string
		d     DialOptions
	}{
		"does not accept the token":      {where, DialOptions{TokenFile: tokenFile(t), CAFile: o.Certificate}},
		"wants a token":                  {where, DialOptions{CAFile: o.Certificate}},
		"nobody known has signed":        {where, DialOptions{TokenFile: o.TokenFile}},
		"holds none in PEM":              {where, DialOptions{TokenFile: o.TokenFile, CAFile: o.TokenFile}},
		"wants TLS; write https://":      {strings.Replace(where, "https", "http", 1), good},
		"is not valid for it":            {strings.Replace(where, "127.0.0.1", "127.0.0.2", 1), good},
		"spoken over TLS only":           {"http://192.0.2.1:6912", good},
		"names no server":                {"ftp://lab-a", good},
		"the name lab-a.invalid is not":  {"lab-a.invalid", good},
		"does not hold a key":            {where, DialOptions{TokenFile: o.Certificate, CAFile: o.Certificate}},
		"is not there":                   {where, DialOptions{TokenFile: "/no/such", CAFile: o.Certificate}},
		"certificates to check the serv": {where, DialOptions{TokenFile: o.TokenFile, CAFile: "/no/such"}},
	} {
		if says == "is not valid for it" { // the same server at an address that its certificate does not name
			s := serve(t, Options{
				Service: o.Service, Addr: netip.MustParseAddrPort("127.0.0.2:0"), TokenFile: o.TokenFile, Certificate: o.Certificate, PrivateKey: o.PrivateKey,
			})
			c.where = "https://" + s.Addrs()[0].String()
		}
		if err := try(c.where, c.d); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not said: %v", says, err)
		}
	}
}

// A token is changed, and a certificate renewed, without a restart; a broken one leaves the old in use.
func TestTokenAndCertificateAreReadAgain(t *testing.T) {
	o, where := secured(t)
	asks := func() error {
		c, err := Dial(where, DialOptions{TokenFile: o.TokenFile, CAFile: o.Certificate})
		if err == nil {
			_, err = c.Targets(t.Context())
		}
		return err
	}
	shown := func() int64 {
		c, err := tls.Dial("tcp", strings.TrimPrefix(where, "https://"), &tls.Config{InsecureSkipVerify: true}) // to look at it
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	old, err := Dial(where, DialOptions{TokenFile: o.TokenFile, CAFile: o.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.TokenFile, []byte(keyfile.Text(keyfile.Generate())), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Servers(t.Context()); !errors.As(err, new(*ConnectError)) {
		t.Errorf("the old token: %v", err)
	}
	if err := asks(); err != nil {
		t.Errorf("the new token: %v", err)
	}
	later := time.Now().Add(time.Minute)
	writeCertificate(t, o.Certificate, o.PrivateKey, 2, time.Now().Add(time.Hour))
	os.Chtimes(o.Certificate, later, later)
	if err := asks(); err != nil || shown() != 2 {
		t.Errorf("the new certificate: %v, number %d is shown", err, shown())
	}
	os.WriteFile(o.Certificate, []byte("half a cert"), 0o600)
	if shown() != 2 {
		t.Error("a broken certificate replaced the good one")
	}
}

// Nothing is found out without the token, and every refusal is logged with the address.
func TestNothingIsAnsweredWithoutTheToken(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	f := full(t)
	s := serve(t, Options{Service: f.Service(), Addr: loopback, Plain: true, TokenFile: tokenFile(t), Log: zap.New(core)})
	transport := &http.Transport{DisableKeepAlives: true}
	for _, path := range []string{pathServers, pathStopStream, pathLogLevel, "/openapi.json", "/", "/nowhere"} {
		for _, header := range []string{"", "Bearer", "Bearer ", "Basic " + strings.Repeat("A", 43), "Bearer " + strings.Repeat("A", 43)} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addrs()[0].String()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", header)
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" || strings.Contains(string(b), "lab") {
				t.Errorf("%s with %q: %d %s", path, header, resp.StatusCode, b)
			}
		}
	}
	if asked := f.Asked(); len(asked) != 0 || logs.FilterField(zap.String("addr", "")).Len() != 0 || logs.Len() != 30 {
		t.Errorf("asked %q, logged %d", asked, logs.Len())
	}
}

// An address without TLS off loopback, without a token, or with one that others can read, is refused.
func TestUnsafeOptionsAreRefused(t *testing.T) {
	open := tokenFile(t)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	everywhere := netip.MustParseAddrPort("0.0.0.0:0")
	for says, o := range map[string]Options{
		"tests on loopback":    {Addr: everywhere, Plain: true, TokenFile: tokenFile(t)},
		"needs a token file":   {Addr: loopback, Plain: true},
		"chmod 600":            {Addr: loopback, Plain: true, TokenFile: open},
		"certificate of the":   {Addr: loopback, TokenFile: tokenFile(t)},
		"neither a socket nor": {},
		"use 0600 or 0660":     {Socket: filepath.Join(dir, "a"), SocketMode: 0o666},
		`group "no-such"`:      {Socket: filepath.Join(dir, "b"), SocketGroup: "no-such"},
		"admin API: socket ":   {Socket: dir},
	} {
		if s, err := NewServer(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not said: %v", says, err)
			if s != nil {
				s.Close()
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("sockets are left: %v, %v", left, err)
	}
}

// The socket has its mode whatever the umask, goes when the server ends, and only one server can have it.
func TestTheSocketIsGuardedByItsMode(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for _, mode := range []fs.FileMode{0, 0o600, 0o660} {
		path := filepath.Join(t.TempDir(), "made", SocketName)
		o := Options{Service: full(t).Service(), Socket: path, SocketMode: mode, SocketGroup: "0"}
		if os.Geteuid() != 0 {
			o.SocketGroup = ""
		}
		s, err := NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if want := max(mode, 0o600); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, want)
		}
		if _, err := NewServer(o); err == nil || !strings.Contains(err.Error(), "taken by") {
			t.Errorf("a second server: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	}
}

// Where no server answers, the sentence names what was tried and what may be wrong.
func TestWhyNoServerAnswersIsSaid(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	token := DialOptions{TokenFile: tokenFile(t)}
	other := serveOther(t)
	for where, says := range map[string]string{
		dir:                                 "there is no socket " + filepath.Join(dir, SocketName) + ". Is spated running",
		dead:                                "nobody listens on " + dead,
		"https://" + closed.Addr().String(): "nobody listens at https://" + closed.Addr().String(),
		"https://" + other:                  "does not speak TLS",
		"http://" + other:                   "it is no spated, or one of another version",
	} {
		c, err := Dial(where, token)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Servers(t.Context())
		if reach := (*ConnectError)(nil); !errors.As(err, &reach) || !strings.Contains(err.Error(), says) || farm.CodeOf(err) != farm.ErrorUnavailable {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// Without a place the usual sockets are tried in their order: a dead one does not hide a live one, and when all
// are dead or missing that is said of the first that exists, or of all.
func TestTheUsualSocketsAreTriedInOrder(t *testing.T) {
	f := full(t)
	dir := t.TempDir()
	dead, live, missing := filepath.Join(dir, "dead"), filepath.Join(dir, "live"), filepath.Join(dir, "missing")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	serve(t, Options{Service: f.Service(), Socket: live})
	for _, c := range []struct {
		sockets []string
		says    string
	}{
		{[]string{missing, dead, live}, ""},
		{[]string{live, dead}, ""},
		{[]string{missing, dead}, "nobody listens on " + dead},
		{[]string{missing, missing}, "there is no socket " + missing + " or " + missing},
	} {
		d, err := dial(live, DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.place.sockets = c.sockets
		_, err = d.Servers(t.Context())
		if said := fmt.Sprint(err); (err != nil) != (c.says != "") || !strings.Contains(said, c.says) {
			t.Errorf("%v: %v", c.sockets, err)
		}
	}
	if p, err := parsePlace(""); err != nil || !slices.Contains(p.sockets, DefaultSocket) {
		t.Errorf("%v, %v", p, err)
	}
}

// serveOther runs an HTTP server that is no spated.
func serveOther(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-ended })
	return l.Addr().String()
}

func TestTheLogLevelIsMounted(t *testing.T) {
	level := zap.NewAtomicLevel()
	path := filepath.Join(t.TempDir(), SocketName)
	serve(t, Options{Service: full(t).Service(), Socket: path, Level: level})
	c, err := dial(path, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.send(t.Context(), http.MethodPut, pathLogLevel, map[string]string{"level": "debug"})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if level.Level() != zap.DebugLevel {
		t.Errorf("the level is %v", level)
	}
}

// A mistake of ours in one request is logged as one, and the server goes on.
func TestAMistakeInOneRequestIsLoggedAndOver(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	path := filepath.Join(t.TempDir(), SocketName)
	serve(t, Options{Socket: path, Log: zap.New(core)}) // no service: each request is a nil pointer
	c, err := dial(path, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Servers(t.Context()); !strings.Contains(fmt.Sprint(err), "the server behind "+path) {
			t.Error(err)
		}
	}
	if logs.FilterMessage("a request failed").Len() != 2 {
		t.Errorf("logged %v", logs.All())
	}
}
