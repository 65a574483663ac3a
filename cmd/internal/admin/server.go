package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/cmd/internal/logging"
)

// The bounds of a server.
const (
	maxConnections = 64 // at a time, of each listener
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 16 << 10
	readTimeout    = 5 * time.Second // for a request
	writeTimeout   = 20 * time.Second
	idleTimeout    = time.Minute
	// closeTimeout is how long a server that ends waits for the answers that it is giving.
	closeTimeout = 3 * time.Second
)

// Options say where a server listens and for whom.
type Options struct {
	// Service answers.
	Service farm.Service

	// Socket is the path of a Unix socket; empty for none. Its folder is made if it is missing.
	Socket string
	// SocketMode is the mode of the socket, 0600 or 0660; 0 means 0600.
	SocketMode fs.FileMode
	// SocketGroup is the group, by name or number, that the socket is given to; empty leaves it as it is.
	SocketGroup string

	// Addr is where TLS listens; not valid for nowhere. Certificate, PrivateKey (both PEM) and TokenFile are
	// the files that it needs.
	Addr                               netip.AddrPort
	Certificate, PrivateKey, TokenFile string
	// Plain leaves TLS out. It works on loopback only and is for tests.
	Plain bool

	// Level is the log level that can be changed; the zero value leaves it out.
	Level zap.AtomicLevel
	// Log may be nil.
	Log *zap.Logger
}

// Server is the admin API of one server. It listens from NewServer on and answers while Run runs.
type Server struct {
	log       *zap.Logger
	listeners []net.Listener
	servers   []*http.Server // one for each listener
}

// NewServer binds the socket and the address. Run or Close frees them.
func NewServer(o Options) (*Server, error) {
	s := &Server{log: logging.Or(o.Log)}
	h := &handlers{service: o.Service, log: s.log, beat: beatEvery}
	if o.Level != (zap.AtomicLevel{}) {
		h.level = o.Level
	}
	if err := s.listen(o, sturdy(s.log, newAPI(h))); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) listen(o Options, api http.Handler) error {
	if o.Socket == "" && !o.Addr.IsValid() {
		return errors.New("the admin API has neither a socket nor an address")
	}
	if o.Socket != "" {
		l, err := listenSocket(o)
		if err != nil {
			return err
		}
		s.add(l, api, nil)
	}
	if !o.Addr.IsValid() {
		return nil
	}
	if o.Plain && !o.Addr.Addr().IsLoopback() {
		return fmt.Errorf("the admin API at %v without TLS: that is for tests on loopback; name a certificate and a private key", o.Addr)
	}
	if o.TokenFile == "" {
		return fmt.Errorf("the admin API at %v needs a token file; make one with: spate keygen > FILE", o.Addr)
	}
	if _, err := keyfile.Read(o.TokenFile); err != nil {
		return fmt.Errorf("token of the admin API: %w", err)
	}
	var secure *tls.Config
	if !o.Plain {
		c, err := newCertificate(o.Certificate, o.PrivateKey, s.log)
		if err != nil {
			return err
		}
		secure = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: c.get}
	}
	l, err := net.Listen("tcp", o.Addr.String())
	if err != nil {
		return fmt.Errorf("admin API: %w", err)
	}
	s.add(l, guard(o.TokenFile, s.log, api), secure)
	return nil
}

// add makes the server of a listener.
func (s *Server) add(l net.Listener, h http.Handler, secure *tls.Config) {
	only1 := new(http.Protocols)
	only1.SetHTTP1(true) // the stream of a stop sets deadlines of its own
	s.listeners = append(s.listeners, l)
	s.servers = append(s.servers, &http.Server{
		Handler: http.MaxBytesHandler(h, maxBodyBytes), TLSConfig: secure, Protocols: only1,
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: quiet(s.log), ConnContext: withAsker,
	})
}

// Addrs are the addresses that the server listens on, the socket first.
func (s *Server) Addrs() []net.Addr {
	var all []net.Addr
	for _, l := range s.listeners {
		all = append(all, l.Addr())
	}
	return all
}

// Run answers until ctx ends, and then gives the answers that have begun a moment to end.
func (s *Server) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	for i, server := range s.servers {
		server.BaseContext = func(net.Listener) context.Context { return running }
		group.Go(func() error { // ends with the server, which the goroutine below ends
			l := netutil.LimitListener(s.listeners[i], maxConnections)
			var err error
			if server.TLSConfig != nil {
				err = server.ServeTLS(l, "", "")
			} else {
				err = server.Serve(l)
			}
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("admin API at %v: %w", s.listeners[i].Addr(), err)
		})
		group.Go(func() error { // ends with ctx or with the first that fails
			<-running.Done()
			within, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer stop()
			if err := server.Shutdown(within); err != nil {
				return server.Close()
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), s.Close())
}

// Close frees the socket and the address of a server that does not run.
func (s *Server) Close() error {
	var bad []error
	for _, l := range s.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			bad = append(bad, err)
		}
	}
	return errors.Join(bad...)
}

// listenSocket makes the socket for its owner alone and opens it to its group then.
func listenSocket(o Options) (net.Listener, error) {
	mode := o.SocketMode
	if mode == 0 {
		mode = 0o600
	}
	if mode != 0o600 && mode != 0o660 {
		return nil, fmt.Errorf("admin socket %s: mode %04o would let in more than its owner and group; use 0600 or 0660", o.Socket, mode)
	}
	if err := os.MkdirAll(filepath.Dir(o.Socket), 0o755); err != nil {
		return nil, fmt.Errorf("folder of the admin socket: %w", err)
	}
	l, err := blockdev.Listen(o.Socket)
	if err != nil {
		return nil, fmt.Errorf("admin API: %w", err)
	}
	if o.SocketGroup != "" {
		var gid int
		if gid, err = groupID(o.SocketGroup); err == nil {
			err = os.Chown(o.Socket, -1, gid)
		}
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("it cannot be given to group %s: this program's user must be in that group, or be root: %w", o.SocketGroup, err)
		}
	}
	if err == nil {
		err = os.Chmod(o.Socket, mode)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), l.Close())
	}
	return l, nil
}

func groupID(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %q is not known on this machine; make it with groupadd, or name another one: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}
