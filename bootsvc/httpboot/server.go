package httpboot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/ipxe"
)

// Config is what a server needs.
type Config struct {
	// Listen is the local address; port 0 lets the system choose.
	Listen netip.AddrPort
	Tree   *files.Tree
	// MACOf finds the machine that has an address; nil when nobody knows.
	MACOf func(netip.Addr) (bootsvc.MAC, bool)
	// Log may be nil.
	Log *zap.Logger
}

// Stats counts since the start.
type Stats struct {
	Sent    uint64 // answers that came to their end
	Failed  uint64 // broken off by the client or a disk
	Missing uint64 // names that do not exist, or cannot be had here
}

// Server is an HTTP server.
type Server struct {
	tree     *files.Tree
	macOf    func(netip.Addr) (bootsvc.MAC, bool)
	log      *zap.Logger
	listener net.Listener
	addr     netip.AddrPort
	service  *http.Server

	sent, failed, missing atomic.Uint64
}

// New binds the socket. Run serves.
func New(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	network := "tcp4"
	if c.Listen.Addr().Is6() {
		network = "tcp6"
	}
	l, err := net.Listen(network, c.Listen.String())
	if err != nil {
		return nil, fmt.Errorf("HTTP at %s: %w", c.Listen, err)
	}
	s := &Server{
		tree: c.Tree, macOf: c.MACOf, log: c.Log,
		listener: netutil.LimitListener(newFairListener(l), MaxConnections), addr: l.Addr().(*net.TCPAddr).AddrPort(),
	}
	errorLog, err := zap.NewStdLogAt(c.Log, zap.DebugLevel)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("HTTP log: %w", err), l.Close())
	}
	s.service = &http.Server{
		Handler: s, ErrorLog: errorLog, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headTime, ReadTimeout: headTime, IdleTimeout: idleTime,
		WriteTimeout: stallTime, // of each request, until a writer gives it more
	}
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	return Stats{Sent: s.sent.Load(), Failed: s.failed.Load(), Missing: s.missing.Load()}
}

// Run serves until ctx ends, and then for a short while those who are loading. It is called once.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	// Ends when Shutdown or Close closes the listener; Run waits for it.
	go func() { ended <- s.service.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("HTTP at %s: %w", s.addr, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	err := s.service.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.service.Close() // whoever is still loading goes on with another server
	}
	if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "This service is for reading only.", http.StatusMethodNotAllowed)
		return
	}
	asked := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		asked += "?" + r.URL.RawQuery
	}
	n, err := files.ParseURL(asked)
	if err != nil {
		s.missing.Add(1)
		from, _ := netip.ParseAddrPort(r.RemoteAddr)
		s.tree.Missing("http", asked, time.Now(), func() (bootsvc.MAC, bool) { return s.tree.Caller(n, from.Addr(), s.macOf) })
		s.log.Debug("no such file", zap.String("remote", r.RemoteAddr), zap.String("file", fmt.Sprintf("%.80q", asked)))
		http.Error(w, "There is no such file here.", http.StatusNotFound)
		return
	}
	s.serve(w, r, n)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, n files.Name) {
	tr := files.Transfer{Service: "http", Name: n}
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	mac, known := s.tree.Caller(n, from.Addr(), s.macOf)
	tr.MAC = mac
	f, err := s.tree.Open(n)
	if err != nil {
		s.missing.Add(1)
		tr.Err = err
		s.note(tr, known, r.RemoteAddr)
		http.Error(w, err.Error(), status(err))
		return
	}
	defer func() { _ = f.Close() }() // it was only read
	f, tr.Part = files.FirstPart(f, n)
	h := w.Header()
	h.Set("Content-Type", f.Type)
	h.Set("ETag", `"`+f.Tag()+`"`)
	h.Set("Cache-Control", "no-cache")
	if f.Changes {
		h.Set("Cache-Control", "no-store")
	}
	begin := time.Now()
	out := &writer{ResponseWriter: w, control: http.NewResponseController(w)}
	in := &reader{ReadSeeker: io.NewSectionReader(f, 0, f.Size())}
	http.ServeContent(out, r, "", time.Time{}, in)
	if r.Method == http.MethodHead || out.status == http.StatusNotModified || out.status == http.StatusRequestedRangeNotSatisfiable {
		return
	}
	tr.Took, tr.Sent, tr.Size = time.Since(begin), out.sent, f.Size()
	tr.Err = cmp.Or(in.err, out.ended())
	if tr.Err != nil {
		s.failed.Add(1)
	} else {
		s.sent.Add(1)
	}
	s.note(tr, known, r.RemoteAddr)
}

func (s *Server) note(tr files.Transfer, known bool, from string) {
	if known {
		s.tree.Note(tr)
		return
	}
	s.log.Info("transfer of an unknown machine", zap.String("remote", from), zap.String("file", tr.What()),
		zap.Int64("bytes", tr.Sent), zap.Int64("size", tr.Size), zap.Duration("took", tr.Took), zap.Error(tr.Err))
}

// status is the code of an error. iPXE tells its user 404 in words; any code makes it go on with the next server.
func status(err error) int {
	missing := (*ipxe.MissingError)(nil)
	if errors.As(err, &missing) {
		return http.StatusServiceUnavailable
	}
	return http.StatusNotFound
}
