package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// client is a plain NBD client that keeps a number of reads in flight and measures each. It speaks the fixed
// newstyle negotiation and simple replies.
type client struct {
	conn net.Conn
	size int64

	mu      sync.Mutex // guards what follows
	next    uint64
	waiting map[uint64]*read
	broken  error
}

// read is one request in flight.
type read struct {
	buf   []byte
	begin time.Time
	took  time.Duration
	done  chan error // has room for one
}

const (
	nbdMagic      = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOptMagic   = 0x49484156454f5054 // "IHAVEOPT"
	nbdRequest    = 0x25609513
	nbdReply      = 0x67446698
	nbdExportName = 1
	nbdNoZeroes   = 2
)

// dial connects to unix:PATH or HOST:PORT and enters transmission of an export.
func dial(addr, export string) (*client, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, waiting: map[uint64]*read{}}
	if err := c.negotiate(export); err != nil {
		conn.Close()
		return nil, fmt.Errorf("negotiate with %s: %w", addr, err)
	}
	go c.receive() // ends when the connection does, which close ends
	return c, nil
}

func (c *client) negotiate(export string) error {
	var hello [18]byte
	if _, err := io.ReadFull(c.conn, hello[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(hello[:]) != nbdMagic || binary.BigEndian.Uint64(hello[8:]) != nbdOptMagic {
		return errors.New("not an NBD server")
	}
	flags := binary.BigEndian.Uint16(hello[16:]) & (1 | nbdNoZeroes)
	b := binary.BigEndian.AppendUint32(nil, uint32(flags))
	b = binary.BigEndian.AppendUint64(b, nbdOptMagic)
	b = binary.BigEndian.AppendUint32(b, nbdExportName)
	b = binary.BigEndian.AppendUint32(b, uint32(len(export)))
	if _, err := c.conn.Write(append(b, export...)); err != nil {
		return err
	}
	answer := make([]byte, 10)
	if flags&nbdNoZeroes == 0 {
		answer = make([]byte, 134)
	}
	if _, err := io.ReadFull(c.conn, answer); err != nil {
		return err
	}
	c.size = int64(binary.BigEndian.Uint64(answer))
	return nil
}

// begin sends a read. The buffer belongs to the client until the read is done.
func (c *client) begin(buf []byte, off int64) (*read, error) {
	r := &read{buf: buf, done: make(chan error, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return nil, c.broken
	}
	c.next++
	c.waiting[c.next] = r
	var b [28]byte
	binary.BigEndian.PutUint32(b[0:], nbdRequest)
	binary.BigEndian.PutUint64(b[8:], c.next)
	binary.BigEndian.PutUint64(b[16:], uint64(off))
	binary.BigEndian.PutUint32(b[24:], uint32(len(buf)))
	r.begin = time.Now()
	_, err := c.conn.Write(b[:])
	return r, err
}

func (c *client) receive() {
	err := c.replies()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
	for id, r := range c.waiting {
		delete(c.waiting, id)
		r.done <- err
	}
}

func (c *client) replies() error {
	var head [16]byte
	for {
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return err
		}
		if binary.BigEndian.Uint32(head[:]) != nbdReply {
			return errors.New("not a simple reply")
		}
		id := binary.BigEndian.Uint64(head[8:])
		c.mu.Lock()
		r := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		if r == nil {
			return fmt.Errorf("a reply to request %d, which nobody waits for", id)
		}
		if code := binary.BigEndian.Uint32(head[4:]); code != 0 {
			r.done <- fmt.Errorf("the server answered a read with error %d", code)
			continue
		}
		_, err := io.ReadFull(c.conn, r.buf)
		r.took = time.Since(r.begin)
		r.done <- err
		if err != nil {
			return err
		}
	}
}

func (c *client) close() { c.conn.Close() }

// readAll reads size bytes at each offset, depth at a time, and returns how long all of it took and each read.
func (c *client) readAll(offsets []int64, size, depth int) (time.Duration, []time.Duration, error) {
	free := make(chan []byte, depth)
	for range depth {
		free <- make([]byte, size)
	}
	took := make([]time.Duration, len(offsets))
	failed := make(chan error, 1)
	var all sync.WaitGroup
	begin := time.Now()
	for i, off := range offsets {
		buf := <-free
		r, err := c.begin(buf, off)
		if err != nil {
			return 0, nil, err
		}
		if depth == 1 { // no goroutine between two reads
			if err := <-r.done; err != nil {
				return 0, nil, err
			}
			took[i] = r.took
			free <- buf
			continue
		}
		all.Go(func() { // ends with its read
			if err := <-r.done; err != nil {
				select {
				case failed <- err:
				default:
				}
			}
			took[i] = r.took
			free <- buf
		})
	}
	all.Wait()
	elapsed := time.Since(begin)
	select {
	case err := <-failed:
		return 0, nil, err
	default:
		return elapsed, took, nil
	}
}
