package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pin/tftp/v3"
	"go.uber.org/zap"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/ipxe"
)

// Config is what a server needs.
type Config struct {
	// Listen is the local address; port 0 lets the system choose, machines ask at Port.
	Listen netip.AddrPort
	// Interface, when not empty, is the only network interface whose requests are taken (Linux).
	Interface string
	Tree      *files.Tree
	// MACOf finds the machine that has an address; nil when nobody knows.
	MACOf func(netip.Addr) (bootsvc.MAC, bool)
	// Log may be nil.
	Log *zap.Logger
}

// Stats counts since the start.
type Stats struct {
	Sent    uint64 // transfers that came to their end
	Probes  uint64 // ended by the client before the first block: it wanted to know the size
	Failed  uint64 // broken off later, or unanswered
	Missing uint64 // names that do not exist
	Busy    uint64 // refused because of MaxTransfers, after a wait, or MaxPerAddress
	Running int
}

// Server is a TFTP server.
type Server struct {
	tree    *files.Tree
	macOf   func(netip.Addr) (bootsvc.MAC, bool)
	log     *zap.Logger
	conn    *net.UDPConn
	service *tftp.Server
	// stopping tells that Run's context has ended, stopped ends the transfers that are still running.
	stopping, stopped chan struct{}

	sent, probes, failed, missing, busy atomic.Uint64
	told                                atomic.Int64 // the second in which a refusal was logged

	// places has an element for each transfer that runs, waiting for each request that waits for one of them.
	places, waiting chan struct{}

	mu   sync.Mutex
	each map[netip.Addr]int // guarded by mu; transfers and waiting requests of each address
}

// New binds the socket. Run serves.
func New(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	network := "udp4"
	if c.Listen.Addr().Is6() {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: prepare(c.Interface)}
	conn, err := lc.ListenPacket(context.Background(), network, c.Listen.String())
	if err != nil {
		return nil, fmt.Errorf("TFTP at %s: %w", c.Listen, err)
	}
	s := &Server{
		tree: c.Tree, macOf: c.MACOf, log: c.Log, conn: conn.(*net.UDPConn),
		stopping: make(chan struct{}), stopped: make(chan struct{}), each: make(map[netip.Addr]int),
		places: make(chan struct{}, MaxTransfers), waiting: make(chan struct{}, maxWaiting),
	}
	s.service = tftp.NewServer(s.read, refuseWrite)
	s.service.SetBlockSize(maxBlock)
	s.service.SetTimeout(timeout)
	s.service.SetRetries(retries)
	s.service.SetBackoff(s.backoff)
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	return Stats{
		Sent: s.sent.Load(), Probes: s.probes.Load(), Failed: s.failed.Load(), Missing: s.missing.Load(), Busy: s.busy.Load(),
		Running: len(s.places),
	}
}

// backoff is how long a transfer waits before it sends a block again for the attempt-th time.
func (s *Server) backoff(attempt int) time.Duration {
	select {
	case <-s.stopping: // clients that are gone do not keep the service from ending
		return 0
	default:
		return time.Duration(attempt) * backoff
	}
}

// Run serves until ctx ends, and then for a short while those who are loading. It is called once.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	// Ends when Shutdown closes the socket, or at once for an address that is none; Run waits for it.
	go func() { ended <- s.service.Serve(s.conn) }()
	select {
	case err := <-ended:
		_ = s.conn.Close() // the error that counts is Serve's
		return fmt.Errorf("TFTP at %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	close(s.stopping)
	grace := time.AfterFunc(stopGrace, func() { close(s.stopped) })
	defer grace.Stop()
	s.service.Shutdown() // waits for the transfers
	return <-ended
}

func refuseWrite(string, io.WriterTo) error {
	return errors.New("this server is for reading only")
}

// read serves one request. What it returns is sent to the client as an error.
func (s *Server) read(name string, to io.ReaderFrom) error {
	client, ok := to.(tftp.OutgoingTransfer)
	if !ok {
		return errors.New("internal error")
	}
	remote := client.RemoteAddr()
	from := remote.AddrPort().Addr().Unmap()
	n, err := files.Parse(name)
	if err != nil {
		s.missing.Add(1)
		s.tree.Missing("tftp", name, time.Now(), func() (bootsvc.MAC, bool) { return s.tree.Caller(n, from, s.macOf) })
		s.log.Debug("no such file", zap.Stringer("remote", from), zap.String("file", short(name)))
		return fmt.Errorf("there is no file %s", short(name))
	}
	if !s.enter(from) {
		s.busy.Add(1)
		if s.tell(time.Now()) {
			s.log.Warn("too many transfers", zap.Stringer("remote", from), zap.String("file", short(name)), zap.Uint64("refused so far", s.busy.Load()))
		}
		return errors.New("this server has too many transfers; try again")
	}
	defer s.leave(from)
	return s.transfer(n, from, client, to)
}

// tell tells whether refusals are to be logged: one a second is, whoever sends thousands.
func (s *Server) tell(now time.Time) bool {
	last := s.told.Load()
	return last != now.Unix() && s.told.CompareAndSwap(last, now.Unix())
}

func (s *Server) transfer(n files.Name, from netip.Addr, client tftp.OutgoingTransfer, to io.ReaderFrom) error {
	tr := files.Transfer{Service: "tftp", Name: n}
	mac, known := s.tree.Caller(n, from, s.macOf)
	tr.MAC = mac
	f, err := s.tree.Open(n)
	if err != nil {
		s.missing.Add(1)
		tr.Err = err
		s.note(tr, known, from)
		return sentence(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	tr.Size = f.Size()
	client.SetSize(tr.Size)
	begin := time.Now()
	content := &reader{r: io.NewSectionReader(f, 0, tr.Size), stopped: s.stopped}
	tr.Sent, tr.Err = to.ReadFrom(content)
	tr.Took = time.Since(begin)
	if netError := net.Error(nil); tr.Err != nil && !content.asked && !errors.As(tr.Err, &netError) {
		s.probes.Add(1)
		return nil
	}
	if tr.Err != nil {
		s.failed.Add(1)
	} else {
		s.sent.Add(1)
	}
	s.note(tr, known, from)
	return tr.Err
}

func (s *Server) note(tr files.Transfer, known bool, from netip.Addr) {
	if known {
		s.tree.Note(tr)
		return
	}
	s.log.Info("transfer of an unknown machine", zap.Stringer("remote", from), zap.String("file", tr.Name.String()),
		zap.Int64("bytes", tr.Sent), zap.Int64("size", tr.Size), zap.Duration("took", tr.Took), zap.Error(tr.Err))
}

// enter takes a place among the transfers, and waits a while for one: firmware that is told an error gives up, and one that
// hears nothing asks again.
func (s *Server) enter(from netip.Addr) bool {
	if !s.count(from) {
		return false
	}
	select {
	case s.places <- struct{}{}:
		return true
	default:
	}
	if s.wait() {
		return true
	}
	s.uncount(from)
	return false
}

// wait waits for a place.
func (s *Server) wait() bool {
	select {
	case s.waiting <- struct{}{}:
	default:
		return false
	}
	defer func() { <-s.waiting }()
	enough := time.NewTimer(placeTime)
	defer enough.Stop()
	select {
	case s.places <- struct{}{}:
		return true
	case <-enough.C:
	case <-s.stopping:
	}
	return false
}

func (s *Server) leave(from netip.Addr) {
	<-s.places
	s.uncount(from)
}

// count counts a request of an address, unless it has too many.
func (s *Server) count(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.each[from] >= MaxPerAddress {
		return false
	}
	s.each[from]++
	return true
}

func (s *Server) uncount(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.each[from]--; s.each[from] == 0 {
		delete(s.each, from)
	}
}

// reader reads a file until the service has stopped.
type reader struct {
	r       io.Reader
	stopped chan struct{}
	// asked tells that the client has taken the options, or had none.
	asked bool
}

func (r *reader) Read(b []byte) (int, error) {
	r.asked = true
	select {
	case <-r.stopped:
		return 0, errors.New("this server is stopping; another one will go on")
	default:
		return r.r.Read(b)
	}
}

// sentence is an error as clients get it: they print it, if at all, on a line of their own.
func sentence(err error) error {
	if errors.Is(err, files.ErrName) || errors.Is(err, ipxe.ErrNoLoader) {
		return files.ErrName
	}
	return err
}

// short is a name from the network, fit for a log line.
func short(name string) string { return fmt.Sprintf("%.80q", name) }
