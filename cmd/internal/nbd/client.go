package nbd

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

// What of the protocol reading takes.
const (
	magic      = 0x4e42444d41474943 // "NBDMAGIC"
	option     = 0x49484156454f5054 // "IHAVEOPT"
	request    = 0x25609513
	reply      = 0x67446698
	exportName = 1
	flags      = 1 | 2 // fixed newstyle, no zeroes
	inBuffer   = 64 << 10
)

// Client is a disk behind an NBD server. Many reads may be under way at once.
type Client struct {
	size  int64
	conn  net.Conn
	in    *bufio.Reader
	ended chan struct{} // closed when the replies have ended

	mu      sync.Mutex // guards what follows, and writing
	next    uint64
	waiting map[uint64]*read
	broken  error
}

// read is a read that is under way. Its buffer belongs to the connection until done has its one value.
type read struct {
	p    []byte
	done chan error
}

// Open connects to the default export of the server at addr, unix:PATH or tcp:HOST:PORT.
func Open(ctx context.Context, addr string) (*Client, error) {
	network, place, ok := strings.Cut(addr, ":")
	if !ok || network != "unix" && network != "tcp" {
		return nil, fmt.Errorf("NBD server %q: write unix:PATH or tcp:HOST:PORT", addr)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, place)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, in: bufio.NewReaderSize(conn, inBuffer), ended: make(chan struct{}), waiting: map[uint64]*read{}}
	unwatch := context.AfterFunc(ctx, func() { _ = conn.Close() }) // a server may never answer; the negotiation fails then, and says why
	err = c.negotiate()
	if !unwatch() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("negotiate with %s: %w", addr, err), conn.Close())
	}
	go c.receive() // ends with the connection; Close waits for it
	return c, nil
}

func (c *Client) negotiate() error {
	var hello [18]byte
	if _, err := io.ReadFull(c.in, hello[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(hello[:]) != magic || binary.BigEndian.Uint64(hello[8:]) != option {
		return errors.New("not an NBD server")
	}
	if offered := binary.BigEndian.Uint16(hello[16:]); offered&flags != flags {
		return fmt.Errorf("an NBD server of the old kind, with flags %#x", offered)
	}
	b := binary.BigEndian.AppendUint32(nil, flags)
	b = binary.BigEndian.AppendUint64(b, option)
	b = binary.BigEndian.AppendUint32(b, exportName)
	b = binary.BigEndian.AppendUint32(b, 0) // the length of the default export's name
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	var export [10]byte
	if _, err := io.ReadFull(c.in, export[:]); err != nil {
		return err
	}
	c.size = int64(binary.BigEndian.Uint64(export[:]))
	if c.size < 0 {
		return fmt.Errorf("a disk of %d bytes", uint64(c.size))
	}
	return nil
}

// Size is the length of the disk in bytes.
func (c *Client) Size() int64 { return c.size }

// ReadAt fills p with what is at off. When ctx ends while it waits, the connection ends too: the reply could come at any
// time, and p belongs to the caller again.
func (c *Client) ReadAt(ctx context.Context, p []byte, off int64) error {
	r := &read{p, make(chan error, 1)}
	if err := c.send(r, off); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		_ = c.conn.Close() // whatever it says, receive ends then, and the read with it
		return errors.Join(context.Cause(ctx), <-r.done)
	}
}

func (c *Client) send(r *read, off int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	c.next++
	c.waiting[c.next] = r
	var b [28]byte
	binary.BigEndian.PutUint32(b[0:], request)
	binary.BigEndian.PutUint64(b[8:], c.next)
	binary.BigEndian.PutUint64(b[16:], uint64(off))
	binary.BigEndian.PutUint32(b[24:], uint32(len(r.p)))
	if _, err := c.conn.Write(b[:]); err != nil {
		_ = c.conn.Close() // half a request may have gone out; the failed write is the error that counts
		delete(c.waiting, c.next)
		return err
	}
	return nil
}

// receive hands out replies until the connection ends.
func (c *Client) receive() {
	defer close(c.ended)
	err := c.replies()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = fmt.Errorf("the connection to the NBD server has ended: %w", err)
	for _, r := range c.waiting {
		r.done <- c.broken
	}
	clear(c.waiting)
}

func (c *Client) replies() error {
	var head [16]byte
	for {
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			return err
		}
		cookie := binary.BigEndian.Uint64(head[8:])
		c.mu.Lock()
		r := c.waiting[cookie]
		delete(c.waiting, cookie)
		c.mu.Unlock()
		if binary.BigEndian.Uint32(head[:]) != reply || r == nil {
			return fmt.Errorf("not a reply to any request: %x", head)
		}
		if code := binary.BigEndian.Uint32(head[4:]); code != 0 {
			r.done <- Error(code)
			continue
		}
		_, err := io.ReadFull(c.in, r.p)
		r.done <- err
		if err != nil {
			return err
		}
	}
}

// Close ends the connection, and every read that is under way.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.ended
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Error is an error number that a server answered; they are those of Linux. The connection goes on after it.
type Error uint32

// EIO is what a disk answers that cannot read.
const EIO Error = 5

func (e Error) Error() string { return fmt.Sprintf("the disk answers with error %d", uint32(e)) }
