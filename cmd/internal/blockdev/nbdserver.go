package blockdev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Server.
const (
	// MaxRequest is the most bytes that one request reads or writes.
	MaxRequest = 32 << 20
	// MaxConnections is how many clients are served at once; more are closed at the door.
	MaxConnections = 16
	// MaxNameLength is the longest name of an export in bytes.
	MaxNameLength = 255

	defaultMemory    = 64 << 20
	defaultGrace     = 5 * time.Second
	negotiateWithin  = 30 * time.Second
	complaintsEvery  = time.Second
	acceptRetryDelay = 50 * time.Millisecond
)

var errTooMany = fmt.Errorf("%d clients are connected, which is the most", MaxConnections)

// Options of a Server; the zero value is good.
type Options struct {
	// Name of the export; clients may also ask for the empty name.
	Name string
	// Memory is the most bytes of payload in flight on one connection, 0 means 64 MiB. One request always passes.
	Memory int64
	// Grace is how long a server that closes lets requests take that are being worked on, 0 means 5 s.
	Grace time.Duration
	// Note is called with one line for each client that was lost or turned away, and now and then for requests that failed, from any
	// goroutine. It must not wait for long. Nil is silence.
	Note func(string)
}

// Server shows one Device to NBD clients.
type Server struct {
	device     Device
	tryReader  TryReader
	tryWriter  TryWriter
	mapper     Mapper
	prefetcher Prefetcher
	export     export
	options    Options

	mu       sync.Mutex // guards conns, draining
	conns    map[net.Conn]*connection
	draining bool

	stats struct{ requests, readBytes, writeBytes, zeroBytes, failures atomic.Uint64 }
	said  atomic.Int64 // when a failure was last logged, in nanoseconds of the monotonic clock since start
	start time.Time
}

// NewServer makes a server; Serve runs it.
func NewServer(d Device, o Options) (*Server, error) {
	sizes := d.BlockSizes()
	switch {
	case len(o.Name) > MaxNameLength:
		return nil, fmt.Errorf("an export name of %d bytes, the most are %d", len(o.Name), MaxNameLength)
	case d.Size() < 0:
		return nil, fmt.Errorf("a device of %d bytes", d.Size())
	case sizes.Minimum == 0 || sizes.Minimum&(sizes.Minimum-1) != 0 || sizes.Minimum > 64<<10:
		return nil, fmt.Errorf("a minimum block size of %d bytes; NBD takes powers of two up to 64 KiB", sizes.Minimum)
	}
	sizes.Preferred = max(sizes.Preferred, sizes.Minimum, 512)
	if sizes.Preferred&(sizes.Preferred-1) != 0 || sizes.Preferred > MaxRequest {
		return nil, fmt.Errorf("a preferred block size of %d bytes; NBD takes powers of two", sizes.Preferred)
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	s := &Server{device: d, options: o, conns: map[net.Conn]*connection{}, start: time.Now()}
	s.said.Store(-int64(complaintsEvery))
	s.tryReader, _ = d.(TryReader)
	s.tryWriter, _ = d.(TryWriter)
	s.mapper, _ = d.(Mapper)
	s.prefetcher, _ = d.(Prefetcher)
	s.export = export{name: o.Name, size: d.Size(), sizes: sizes, maximum: MaxRequest,
		mapped: s.mapper != nil, readOnly: d.ReadOnly(), cacheable: s.prefetcher != nil}
	s.export.flags = exportHasFlags | exportFlush | exportFUA | exportMultiConn
	if s.export.readOnly {
		s.export.flags |= exportReadOnly
	} else {
		s.export.flags |= exportTrim | exportWriteZeroes
	}
	if s.export.cacheable {
		s.export.flags |= exportCache
	}
	return s, nil
}

// Serve accepts clients on l until ctx ends. It then takes no new requests, lets those it has finish for Options.Grace,
// abandons the rest, and returns nil. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	go func() { // ends with ctx; Serve waits for it
		defer close(stopped)
		<-ctx.Done()
		_ = l.Close()
		s.drain()
	}()
	for {
		sock, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = sock.Close()
			}
			<-stopped
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept NBD clients: %w", err)
		case err != nil:
			// No descriptors left, most likely: clients wait in the queue of the socket until there are some.
			s.options.Note("NBD: a client cannot be accepted: " + err.Error())
			wait(ctx, acceptRetryDelay)
			continue
		}
		c := newConnection(s, sock)
		if err := s.add(c); err != nil {
			s.options.Note("NBD: a client was turned away: " + err.Error())
			_ = sock.Close()
			continue
		}
		clients.Add(1)
		go func() { // ends when the client leaves, or with the drain; Serve waits for it
			defer clients.Done()
			s.client(ctx, c)
		}()
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// client holds one connection from its negotiation to its end.
func (s *Server) client(ctx context.Context, c *connection) {
	defer c.cancel()
	defer s.remove(c)
	readUntil(ctx, c.sock, time.Now().Add(negotiateWithin))
	agreed, err := negotiate(c.in, c.sock, &s.export)
	if err == nil {
		readUntil(ctx, c.sock, time.Time{})
		c.agreed = agreed
		err = c.run()
	}
	if broken(err) {
		s.options.Note("NBD: a client was lost: " + err.Error())
	}
}

// readUntil sets a read deadline that does not undo the one of a drain, which ends ctx first and sets its own then.
func readUntil(ctx context.Context, sock net.Conn, t time.Time) {
	_ = sock.SetReadDeadline(t)
	if ctx.Err() != nil {
		_ = sock.SetReadDeadline(longAgo)
	}
}

var longAgo = time.Unix(1, 0)

func (s *Server) add(c *connection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return net.ErrClosed
	case len(s.conns) >= MaxConnections:
		return errTooMany
	}
	s.conns[c.sock] = c
	return nil
}

func (s *Server) remove(c *connection) {
	_ = c.sock.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.sock)
}

// drain ends reading on all connections, and after the grace the requests that still wait.
func (s *Server) drain() {
	s.mu.Lock()
	s.draining = true
	conns := make([]*connection, 0, len(s.conns))
	for _, c := range s.conns {
		_ = c.sock.SetReadDeadline(longAgo)
		conns = append(conns, c)
	}
	s.mu.Unlock()
	t := time.NewTimer(s.options.Grace)
	defer t.Stop()
	for _, c := range conns {
		select {
		case <-c.ctx.Done():
		case <-t.C:
			for _, c := range conns {
				c.cancel()
				// A client that does not read its replies must not hold us either.
				_ = c.sock.SetWriteDeadline(time.Now().Add(acceptRetryDelay))
			}
			return
		}
	}
}

// failed counts a request that did not work, and says so at most once a second.
func (s *Server) failed(cmd *command, err error) {
	n := s.stats.failures.Add(1)
	now, last := int64(time.Since(s.start)), s.said.Load()
	if now-last < int64(complaintsEvery) || !s.said.CompareAndSwap(last, now) {
		return
	}
	s.options.Note(fmt.Sprintf("NBD: command %d for %d bytes at %d failed (%d so far): %v", cmd.kind, cmd.length, cmd.off, n, err))
}

// Stats counts since the server was made.
type Stats struct {
	Requests, Failures    uint64
	ReadBytes, WriteBytes uint64
	ZeroBytes             uint64 // trimmed or made zero
	Connections           int    // now
}

// Stats tells what the server has done.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Requests: s.stats.requests.Load(), Failures: s.stats.failures.Load(),
		ReadBytes: s.stats.readBytes.Load(), WriteBytes: s.stats.writeBytes.Load(),
		ZeroBytes: s.stats.zeroBytes.Load(), Connections: len(s.conns),
	}
}
