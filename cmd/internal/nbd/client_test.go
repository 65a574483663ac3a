package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen gives a socket, and the connections that come to it.
func listen(t *testing.T) (addr string, accepted chan net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	accepted = make(chan net.Conn)
	ended := make(chan struct{})
	go func() { // ends with the socket
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return "unix:" + l.Addr().String(), accepted
}

// greet negotiates a disk of size bytes.
func greet(t *testing.T, c net.Conn, size uint64) {
	t.Helper()
	if _, err := io.WriteString(c, "NBDMAGICIHAVEOPT\x00\x03"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint64(nil, size), 0, 0)); err != nil {
		t.Fatal(err)
	}
}

// answer takes one request and replies with an error number, or with data where that is 0.
func answer(t *testing.T, c net.Conn, code uint32, data string) {
	t.Helper()
	var asked [28]byte
	if _, err := io.ReadFull(c, asked[:]); err != nil {
		t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, reply), code)
	if _, err := c.Write(append(append(b, asked[8:16]...), data...)); err != nil {
		t.Fatal(err)
	}
}

// An error of the disk is told as the number it is and fails its read and no other; the end of the server fails what is
// under way.
func TestAReadThatFailsSaysSo(t *testing.T) {
	addr, accepted := listen(t)
	result := make(chan error)
	var disk *Client
	go func() { // ends with Open
		var err error
		disk, err = Open(t.Context(), addr)
		result <- err
	}()
	c := <-accepted
	greet(t, c, 1<<20)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if disk.Size() != 1<<20 {
		t.Errorf("the disk has %d bytes", disk.Size())
	}
	p := make([]byte, 4)
	read := func() { result <- disk.ReadAt(t.Context(), p, 512) }
	go read() // ends with its answer, and so do those below
	answer(t, c, uint32(EIO), "")
	if err := <-result; !errors.Is(err, EIO) {
		t.Errorf("a bad sector: %v", err)
	}
	go read()
	answer(t, c, 0, "good")
	if err := <-result; err != nil || string(p) != "good" {
		t.Errorf("after a bad sector: %q, %v", p, err)
	}
	go read()
	if _, err := io.ReadFull(c, make([]byte, 28)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-result; !errors.Is(err, io.EOF) {
		t.Errorf("a server that ends: %v", err)
	}
	if err := disk.Close(); err != nil {
		t.Error(err)
	}
}

// Who does not wait any longer gets its buffer back, whatever the server does.
func TestTheEndOfTheContextEndsWhatIsUnderWay(t *testing.T) {
	if _, err := Open(t.Context(), "/dev/null"); err == nil {
		t.Error("a path without a scheme is taken")
	}
	addr, accepted := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { // ends with ctx
		_, err := Open(ctx, addr)
		result <- err
	}()
	c := <-accepted
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("a server that says nothing: %v", err)
	}
	c.Close()

	go func() { // ends with Open
		disk, err := Open(t.Context(), addr)
		if err == nil {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err = errors.Join(disk.ReadAt(ctx, make([]byte, 512), 0), disk.Close())
		}
		result <- err
	}()
	c = <-accepted
	greet(t, c, 0)
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("a read whose context has ended: %v", err)
	}
	c.Close()
}

// What is not the NBD server that this client speaks with is told what it is.
func TestOtherServersAreRefusedWithAReason(t *testing.T) {
	for greeting, want := range map[string]string{
		"NBDMAGICIHAVEOPT\x00\x01": "an NBD server of the old kind, with flags 0x1",
		"SSH-2.0-OpenSSH_9.2\r\n":  "not an NBD server",
	} {
		addr, accepted := listen(t)
		result := make(chan error)
		go func() { // ends with Open
			_, err := Open(t.Context(), addr)
			result <- err
		}()
		c := <-accepted
		if _, err := io.WriteString(c, greeting); err != nil {
			t.Fatal(err)
		}
		if err := <-result; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", greeting, err)
		}
		c.Close()
	}
}
