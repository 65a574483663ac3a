package blockdev

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what happens at once on an idle machine.
const patience = 30 * time.Second

// folder is a short path, because a socket's may have 107 bytes only.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve shows d on a socket until the test ends or stop is called, which returns what Serve did.
func serve(t testing.TB, d Device, o Options) (path string, s *Server, stop func() error) {
	t.Helper()
	path = filepath.Join(folder(t), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err = NewServer(d, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }() // ends with stop
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the server does not end")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return path, s, stop
}

// client speaks NBD as plainly as possible.
type client struct {
	t    testing.TB
	sock net.Conn
	in   *bufio.Reader
	info export
}

func dial(t testing.TB, path string) *client {
	t.Helper()
	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	if err := sock.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, sock: sock, in: bufio.NewReader(sock)}
	hello := c.read(18)
	if be.Uint64(hello) != magicInit || be.Uint64(hello[8:]) != magicOption {
		t.Fatalf("the server says %x", hello)
	}
	c.write(be.AppendUint32(nil, flagFixedNewstyle|flagNoZeroes))
	return c
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c.in, b); err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.sock.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

type optionReply struct {
	kind uint32
	data []byte
}

func optionBytes(kind uint32, data []byte) []byte {
	b := be.AppendUint64(nil, magicOption)
	b = be.AppendUint32(b, kind)
	return append(be.AppendUint32(b, uint32(len(data))), data...)
}

// option sends one and collects the replies up to the ACK or the error.
func (c *client) option(kind uint32, data []byte) (replies []optionReply) {
	c.t.Helper()
	c.write(optionBytes(kind, data))
	for {
		h := c.read(20)
		if be.Uint64(h) != magicOptionReply || be.Uint32(h[8:]) != kind {
			c.t.Fatalf("option %d is answered with %x", kind, h)
		}
		r := optionReply{be.Uint32(h[12:]), c.read(int(be.Uint32(h[16:])))}
		replies = append(replies, r)
		if r.kind == repAck || r.kind >= 1<<31 {
			return replies
		}
	}
}

func goData(name string, wanted ...uint16) []byte {
	b := append(be.AppendUint32(nil, uint32(len(name))), name...)
	b = be.AppendUint16(b, uint16(len(wanted)))
	for _, w := range wanted {
		b = be.AppendUint16(b, w)
	}
	return b
}

func metaData(name string, queries ...string) []byte {
	b := append(be.AppendUint32(nil, uint32(len(name))), name...)
	b = be.AppendUint32(b, uint32(len(queries)))
	for _, q := range queries {
		b = append(be.AppendUint32(b, uint32(len(q))), q...)
	}
	return b
}

// attach goes to the commands, with structured replies and block status if asked for.
func attach(t testing.TB, path string, structured bool) *client {
	t.Helper()
	c := dial(t, path)
	if structured {
		c.option(optStructuredReply, nil)
		c.option(optSetMeta, metaData("", contextAllocation))
	}
	for _, r := range c.option(optGo, goData("")) {
		if r.kind == repInfo && be.Uint16(r.data) == infoExport {
			c.info.size, c.info.flags = int64(be.Uint64(r.data[2:])), be.Uint16(r.data[10:])
		}
	}
	return c
}

func requestBytes(flags, kind uint16, cookie uint64, off, length int64) []byte {
	b := be.AppendUint32(nil, magicRequest)
	b = be.AppendUint16(b, flags)
	b = be.AppendUint16(b, kind)
	b = be.AppendUint64(b, cookie)
	b = be.AppendUint64(b, uint64(off))
	return be.AppendUint32(b, uint32(length))
}

// ask sends a command.
func (c *client) ask(flags, kind uint16, cookie uint64, off, length int64, payload ...byte) {
	c.t.Helper()
	c.write(append(requestBytes(flags, kind, cookie, off, length), payload...))
}

type reply struct {
	cookie uint64
	errno  uint32
	kind   uint16 // of a structured chunk
	data   []byte
}

// answer reads one reply; data is how many bytes of payload a simple one carries if it says success.
func (c *client) answer(data int) reply {
	c.t.Helper()
	switch magic := be.Uint32(c.read(4)); magic {
	case magicSimple:
		h := c.read(12)
		r := reply{cookie: be.Uint64(h[4:]), errno: be.Uint32(h)}
		if r.errno == 0 {
			r.data = c.read(data)
		}
		return r
	case magicStructured:
		h := c.read(16)
		r := reply{cookie: be.Uint64(h[4:]), kind: be.Uint16(h[2:])}
		r.data = c.read(int(be.Uint32(h[12:])))
		if be.Uint16(h)&chunkDone == 0 {
			c.t.Fatalf("a reply of several chunks: %x", h)
		}
		switch r.kind {
		case chunkOffsetData:
			r.data = r.data[8:]
		case chunkError:
			r.errno = be.Uint32(r.data)
			r.data = r.data[6:]
		}
		return r
	default:
		c.t.Fatalf("no reply: %#x", magic)
	}
	return reply{}
}

func (c *client) readAt(off, length int64) []byte {
	c.t.Helper()
	c.ask(0, cmdRead, 1, off, length)
	r := c.answer(int(length))
	if r.errno != 0 || len(r.data) != int(length) {
		c.t.Fatalf("read of %d at %d: error %d, %d bytes", length, off, r.errno, len(r.data))
	}
	return r.data
}
