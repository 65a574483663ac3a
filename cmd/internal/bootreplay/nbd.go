package bootreplay

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// What of the NBD protocol reading takes (doc/proto.md).
const (
	nbdMagic      = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOption     = 0x49484156454f5054 // "IHAVEOPT"
	nbdRequest    = 0x25609513
	nbdReply      = 0x67446698
	nbdExportName = 1
	nbdFlags      = 1 | 2 // fixed newstyle, no zeroes
	nbdInBuffer   = 64 << 10
)

// NBD is a disk behind an NBD server. Many reads may be under way at once.
type NBD struct {
	size  int64
	conn  net.Conn
	in    *bufio.Reader
	ended chan struct{} // closed when the replies have ended

	mu      sync.Mutex // guards what follows, and writing
	next    uint64
	waiting map[uint64]*nbdRead
	broken  error
}

// nbdRead is a read that is under way. Its buffer belongs to the connection until done has its one value.
type nbdRead struct {
	p    []byte
	done chan error
}

// Open connects to the default export of the server at addr, unix:PATH or tcp:HOST:PORT.
func Open(ctx context.Context, addr string) (*NBD, error) {
	network, place, ok := strings.Cut(addr, ":")
	if !ok || network != "unix" && network != "tcp" {
		return nil, fmt.Errorf("NBD server %q: write unix:PATH or tcp:HOST:PORT", addr)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, place)
	if err != nil {
		return nil, err
	}
	n := &NBD{conn: conn, in: bufio.NewReaderSize(conn, nbdInBuffer), ended: make(chan struct{}), waiting: map[uint64]*nbdRead{}}
	unwatch := context.AfterFunc(ctx, func() { _ = conn.Close() }) // a server may never answer
	err = n.negotiate()
	if !unwatch() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("negotiate with %s: %w", addr, err), conn.Close())
	}
	go n.receive() // ends with the connection; Close waits for it
	return n, nil
}

func (n *NBD) negotiate() error {
	var hello [18]byte
	if _, err := io.ReadFull(n.in, hello[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(hello[:]) != nbdMagic || binary.BigEndian.Uint64(hello[8:]) != nbdOption {
		return errors.New("not an NBD server")
	}
	if flags := binary.BigEndian.Uint16(hello[16:]); flags&nbdFlags != nbdFlags {
		return fmt.Errorf("an NBD server of the old kind, with flags %#x", flags)
	}
	b := binary.BigEndian.AppendUint32(nil, nbdFlags)
	b = binary.BigEndian.AppendUint64(b, nbdOption)
	b = binary.BigEndian.AppendUint32(b, nbdExportName)
	b = binary.BigEndian.AppendUint32(b, 0) // the length of the default export's name
	if _, err := n.conn.Write(b); err != nil {
		return err
	}
	var export [10]byte
	if _, err := io.ReadFull(n.in, export[:]); err != nil {
		return err
	}
	n.size = int64(binary.BigEndian.Uint64(export[:]))
	if n.size < 0 {
		return fmt.Errorf("a disk of %d bytes", uint64(n.size))
	}
	return nil
}

// Size is the length of the disk in bytes.
func (n *NBD) Size() int64 { return n.size }

// ReadAt fills p with what is at off. When ctx ends while it waits, the connection ends too: the reply could come at any
// time, and p belongs to the caller again.
func (n *NBD) ReadAt(ctx context.Context, p []byte, off int64) error {
	r := &nbdRead{p, make(chan error, 1)}
	if err := n.send(r, off); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		_ = n.conn.Close()
		return errors.Join(context.Cause(ctx), <-r.done)
	}
}

func (n *NBD) send(r *nbdRead, off int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broken != nil {
		return n.broken
	}
	n.next++
	n.waiting[n.next] = r
	var b [28]byte
	binary.BigEndian.PutUint32(b[0:], nbdRequest)
	binary.BigEndian.PutUint64(b[8:], n.next)
	binary.BigEndian.PutUint64(b[16:], uint64(off))
	binary.BigEndian.PutUint32(b[24:], uint32(len(r.p)))
	if _, err := n.conn.Write(b[:]); err != nil {
		_ = n.conn.Close() // half a request may have gone out
		delete(n.waiting, n.next)
		return err
	}
	return nil
}

// receive hands out replies until the connection ends.
func (n *NBD) receive() {
	defer close(n.ended)
	err := n.replies()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken = fmt.Errorf("the connection to the NBD server has ended: %w", err)
	for _, r := range n.waiting {
		r.done <- n.broken
	}
	clear(n.waiting)
}

func (n *NBD) replies() error {
	var head [16]byte
	for {
		if _, err := io.ReadFull(n.in, head[:]); err != nil {
			return err
		}
		cookie := binary.BigEndian.Uint64(head[8:])
		n.mu.Lock()
		r := n.waiting[cookie]
		delete(n.waiting, cookie)
		n.mu.Unlock()
		if binary.BigEndian.Uint32(head[:]) != nbdReply || r == nil {
			return fmt.Errorf("not a reply to any request: %x", head)
		}
		if code := binary.BigEndian.Uint32(head[4:]); code != 0 {
			r.done <- fmt.Errorf("the disk answers with error %d", code)
			continue
		}
		_, err := io.ReadFull(n.in, r.p)
		r.done <- err
		if err != nil {
			return err
		}
	}
}

// Close ends the connection, and every read that is under way.
func (n *NBD) Close() error {
	err := n.conn.Close()
	<-n.ended
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
