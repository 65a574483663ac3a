package tftp

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/files/filestest"
)

// Whatever a datagram holds: what is answered is a datagram of the protocol, short and in one line where it is words, and the
// next machine is served. Seeds are what real machines sent, whole, cut, and changed.
func FuzzRequest(f *testing.F) {
	for _, c := range captures(f) {
		f.Add(c.datagram)
		f.Add(c.datagram[:len(c.datagram)/2])
		f.Add(c.datagram[:len(c.datagram)-1])
		f.Add(append(append([]byte{0, opWrite}, c.datagram[2:]...), "blksize\x00-1\x00tsize\x00x\x00"...))
	}
	for _, s := range []string{"", "\x00", "\x00\x01", "\x00\x03\x00\x01data", "\x00\x04\x00\x01", "\x00\x05\x00\x08\x00", "\x00\x01boot.ipxe\x00netascii\x00"} {
		f.Add([]byte(s))
	}
	for _, options := range [][]string{{"blksize", "0"}, {"blksize", "-5"}, {"blksize", "99999999999"}, {"tsize", ""}, {"timeout", "0"}, {"windowsize", "65535", "blksize", "8"}} {
		f.Add(request(opRead, "boot.ipxe", options...))
	}
	f.Add(request(opRead, "../../etc/passwd"))
	f.Add(request(opRead, "boot/debian12@3/\x1b[2Jkernel"))
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Tree: files.New(filestest.New(), filestest.Loaders(f))})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // ended and waited for by the cleanup
	f.Cleanup(func() {
		cancel()
		<-ended
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		stranger := dial(t, 2)
		defer stranger.Close()
		// A datagram of no byte at all means the end of file to the library's socket; the system delivers it like any other.
		if _, err := stranger.WriteToUDPAddrPort(b, s.Addr()); err != nil {
			t.Skip(err) // longer than a datagram can be
		}
		served(t, s.Addr())
		_ = stranger.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		answer := make([]byte, 2048)
		n, from, err := stranger.ReadFromUDPAddrPort(answer)
		if err != nil {
			return
		}
		checkAnswer(t, b, answer[:n])
		_, _ = stranger.WriteToUDPAddrPort([]byte{0, opError, 0, 0, 0}, from) // the end of it
	})
}

// dial gives a socket of its own address: ports are used again, and the last words to one reach the next.
func dial(t *testing.T, address byte) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{127, 0, 0, address}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// served asks for a file, as a machine that asks again, and lets it be when it is offered.
func served(t *testing.T, server netip.AddrPort) {
	t.Helper()
	c := dial(t, 3)
	defer c.Close()
	b := make([]byte, 2048)
	for range 10 {
		if _, err := c.WriteToUDPAddrPort(request(opRead, "boot.ipxe", "tsize", "0"), server); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if n, from, err := c.ReadFromUDPAddrPort(b); err == nil && from.Addr() == server.Addr() {
			if n < 2 || binary.BigEndian.Uint16(b) != opOptions {
				t.Fatalf("the next machine is answered by %q", b[:n])
			}
			_, _ = c.WriteToUDPAddrPort([]byte{0, opError, 0, 8, 0}, from)
			return
		}
	}
	t.Fatal("the next machine is not served")
}

func checkAnswer(t *testing.T, asked, b []byte) {
	t.Helper()
	if len(asked) < 2 || len(b) < 4 {
		t.Fatalf("%q is answered by %q", asked, b)
	}
	switch op := binary.BigEndian.Uint16(b); {
	case op == opError:
		text := strings.TrimSuffix(string(b[4:]), "\x00")
		if len(text) > 400 || len(text)+5 != len(b) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q is told %q", asked, text)
		}
	case op != opData && op != opOptions || binary.BigEndian.Uint16(asked) != opRead:
		t.Errorf("%q is answered by %q", asked, b)
	}
}
