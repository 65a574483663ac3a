package blockdev

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxInFlight is how many requests of one connection are worked on at once; more stay in its socket.
	maxInFlight = 512
	// maxIdle is how many goroutines of a connection wait for work; more end when they have nothing to do.
	maxIdle = 8
	// readAhead is how many bytes of requests are read from a socket at once.
	readAhead = 64 << 10
)

// command is one request on its way through the server. It is reused.
type command struct {
	request
	payload *buffer // what is written, or what was read
	cost    int64   // bytes taken from the connection's budget
	place   int     // in the list of unanswered ones

	noted    bool          // there
	answerBy time.Duration // by the clock of that list, 0: whenever

	head []byte // of the reply
	send []byte // payload of the reply, or nil
}

// connection serves one client. One of its goroutines holds the turn: it alone reads from the socket. It answers at once
// what it can, and passes the turn on before it does anything that may wait.
type connection struct {
	server *Server
	device Device
	sock   net.Conn
	agreed session
	ctx    context.Context // of requests; ends when the client is gone or the server must not wait longer
	cancel context.CancelFunc

	turn chan struct{} // holds a token while nobody has the turn
	done chan struct{} // closed by the holder of the turn when there will be no more requests
	idle atomic.Int32  // goroutines that wait for the turn
	work sync.WaitGroup

	in    *bufio.Reader // belongs to the holder of the turn
	ended error         // why done was closed; written before

	unanswered *Unanswered // nil: nobody would answer in our place

	free   chan *command // those that nobody uses
	made   int           // commands made so far; belongs to the holder of the turn
	behind lag           // belongs to the holder of the turn
	budget budget
	out    outbox
}

func newConnection(s *Server, sock net.Conn) *connection {
	c := &connection{
		server: s, device: s.device, sock: sock,
		turn: make(chan struct{}, 1),
		done: make(chan struct{}),
		in:   bufio.NewReaderSize(sock, readAhead),
		free: make(chan *command, maxInFlight),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.budget = budget{limit: s.options.Memory, freed: make(chan struct{}, 1)}
	c.out.conn = c
	return c
}

// run serves commands until the client leaves, the stream breaks, or the read deadline that a closing server sets. It
// returns when every request has been answered or abandoned.
func (c *connection) run() error {
	c.work.Add(1)
	c.turn <- struct{}{}
	go c.loop() // ends after done is closed; run waits for it and for all that it starts
	<-c.done
	if errors.Is(c.ended, io.EOF) || errors.Is(c.ended, io.ErrUnexpectedEOF) {
		c.cancel() // nobody is there to hear the answers
	}
	c.work.Wait()
	c.out.flush()
	return c.ended
}

// loop is one goroutine of the connection.
func (c *connection) loop() {
	defer c.work.Done()
	for {
		if c.idle.Add(1) > maxIdle {
			c.idle.Add(-1)
			return
		}
		select {
		case <-c.turn:
			c.idle.Add(-1)
		case <-c.done:
			return
		}
		cmd, err := c.read()
		if err != nil {
			c.ended = err
			close(c.done)
			return
		}
		c.execute(cmd)
		c.out.add(cmd, true)
	}
}

// passOn gives the turn to another goroutine, together with the duty to flush the replies that were held back.
func (c *connection) passOn() {
	if c.idle.Load() == 0 {
		c.work.Add(1)
		go c.loop() // ends after done is closed
	}
	c.turn <- struct{}{}
}

// read answers requests for as long as that takes no waiting, and returns the first that may have to wait, after it
// passed on the turn.
func (c *connection) read() (*command, error) {
	for {
		cmd, err := c.next()
		if err != nil {
			return nil, err
		}
		if !c.immediate(cmd) {
			c.unanswered.note(cmd, &c.behind)
			c.passOn()
			return cmd, nil
		}
		c.out.add(cmd, c.in.Buffered() < requestSize)
	}
}

// next reads one request with its payload.
func (c *connection) next() (*command, error) {
	if c.in.Buffered() < requestSize {
		c.out.flush() // the client may wait for these replies before it says more
	}
	head, err := c.in.Peek(requestSize)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	r, ok := parseRequest(head)
	if !ok {
		return nil, fmt.Errorf("%w: no request where one belongs", errNotNBD)
	}
	if r.kind == cmdDisc {
		return nil, errLeft
	}
	_, _ = c.in.Discard(requestSize) // cannot fail after Peek
	cmd, err := c.command()
	if err != nil {
		return nil, err
	}
	cmd.request = r
	return cmd, c.fetch(cmd)
}

// command takes a free one, or waits for it.
func (c *connection) command() (*command, error) {
	select {
	case cmd := <-c.free:
		return cmd, nil
	default:
	}
	if c.made < maxInFlight {
		c.made++
		return &command{head: make([]byte, 0, errorReplyMaxSize), place: c.made - 1}, nil
	}
	c.out.flush()
	begin := c.unanswered.clock()
	select {
	case cmd := <-c.free:
		c.behind.wait(begin, c.unanswered.clock())
		return cmd, nil
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

// fetch gets memory for the payload of a read or write, and reads that of a write. A write that is too long is read
// over, so that the stream stays in step, and refused later.
func (c *connection) fetch(cmd *command) error {
	n := int(cmd.length)
	if cmd.kind != cmdRead && cmd.kind != cmdWrite {
		return nil
	}
	if n > MaxRequest {
		if cmd.kind == cmdWrite {
			c.out.flush()
			_, err := c.in.Discard(n)
			return err
		}
		return nil
	}
	if !c.budget.take(int64(n)) {
		c.out.flush()
		begin := c.unanswered.clock()
		if err := c.budget.wait(c.ctx, int64(n)); err != nil {
			return err
		}
		c.behind.wait(begin, c.unanswered.clock())
	}
	cmd.cost = int64(n)
	cmd.payload = newBuffer(n)
	if cmd.kind == cmdRead {
		return nil
	}
	if c.in.Buffered() < n {
		c.out.flush()
	}
	_, err := io.ReadFull(c.in, cmd.payload.bytes)
	return err
}

// finish gives back what a command holds.
func (c *connection) finish(cmd *command) {
	cmd.payload.release()
	cost := cmd.cost
	cmd.payload, cmd.send, cmd.cost, cmd.head = nil, nil, 0, cmd.head[:0]
	cmd.noted, cmd.answerBy = false, 0
	c.free <- cmd // has room for all that were made
	if cost > 0 {
		c.budget.give(cost)
	}
}

// broken says whether the connection ended for a reason that is worth a line.
func broken(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errLeft) &&
		!errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled)
}

// budget bounds the payload bytes of a connection. One goroutine at a time takes, the one that has the turn.
type budget struct {
	limit int64
	used  atomic.Int64
	freed chan struct{}
}

// take takes n bytes if they are there. One request is always let through, whatever its size.
func (b *budget) take(n int64) bool {
	if used := b.used.Add(n); used > b.limit && used != n {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) wait(ctx context.Context, n int64) error {
	for !b.take(n) {
		select {
		case <-b.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (b *budget) give(n int64) {
	b.used.Add(-n)
	select {
	case b.freed <- struct{}{}:
	default:
	}
}
