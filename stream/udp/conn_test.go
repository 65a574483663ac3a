package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// patience is how long a test waits for what happens at once on an idle machine.
const patience = 20 * time.Second

func batch() *Batch { return &Batch{Buf: make([]byte, MaxReceive)} }

func listen(t testing.TB, addr string, o Options) Conn {
	t.Helper()
	conns, err := Listen(netip.MustParseAddrPort(addr), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conns[0].Close() })
	if err := conns[0].SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conns[0]
}

func listenPlainOne(t testing.TB, addr string) Conn {
	t.Helper()
	conns, err := listenPlain(netip.MustParseAddrPort(addr), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conns[0].Close() })
	if err := conns[0].SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conns[0]
}

// to is where c is reached over loopback.
func to(c Conn, ip string) Path {
	return Path{Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), c.LocalAddr().Port())}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31>>4) ^ byte(i)
	}
	return b
}

// collect receives until it has n bytes.
func collect(t testing.TB, c Conn, n int) (data []byte, sizes []int, last Batch) {
	t.Helper()
	b := batch()
	for len(data) < n {
		if err := c.Receive(b); err != nil {
			t.Fatalf("after %d of %d bytes: %v", len(data), n, err)
		}
		for d := range b.All() {
			data = append(data, d...)
			sizes = append(sizes, len(d))
		}
	}
	return data, sizes, *b
}

// What leaves as datagrams arrives as the same datagrams, whatever the segment length, the family, and the offloads.
func TestATrainArrivesAsItWasCut(t *testing.T) {
	type end struct{ send, receive Conn }
	ends := map[string]func(t *testing.T) (end, string){
		"offloads, IPv4": func(t *testing.T) (end, string) {
			return end{listen(t, "127.0.0.1:0", Options{}), listen(t, "127.0.0.1:0", Options{})}, "127.0.0.1"
		},
		"offloads, IPv6": func(t *testing.T) (end, string) {
			return end{listen(t, "[::1]:0", Options{}), listen(t, "[::1]:0", Options{})}, "::1"
		},
		"IPv4 on a socket of both families": func(t *testing.T) (end, string) {
			return end{listen(t, "[::]:0", Options{}), listen(t, "[::]:0", Options{})}, "127.0.0.1"
		},
		"no GSO": func(t *testing.T) (end, string) {
			return end{listen(t, "127.0.0.1:0", Options{NoGSO: true}), listen(t, "127.0.0.1:0", Options{})}, "127.0.0.1"
		},
		"no GRO": func(t *testing.T) (end, string) {
			return end{listen(t, "127.0.0.1:0", Options{}), listen(t, "127.0.0.1:0", Options{NoGRO: true})}, "127.0.0.1"
		},
		"plain": func(t *testing.T) (end, string) {
			return end{listenPlainOne(t, "127.0.0.1:0"), listenPlainOne(t, "127.0.0.1:0")}, "127.0.0.1"
		},
		"plain 6": func(t *testing.T) (end, string) {
			return end{listenPlainOne(t, "[::1]:0"), listenPlainOne(t, "[::1]:0")}, "::1"
		},
	}
	for name, make := range ends {
		t.Run(name, func(t *testing.T) {
			e, ip := make(t)
			for _, c := range []struct{ length, segment int }{
				{1, 1}, {1200, 1472}, {1472, 1472}, {1473, 1472}, {64768, 1472}, {60000, 1200}, {65502, 1213}, {65488, 65488}, {65000, 8972}, {200_000, 4096},
			} {
				train := pattern(c.length)
				if err := e.send.Send(train, c.segment, to(e.receive, ip)); err != nil {
					t.Fatalf("%d bytes in segments of %d: %v", c.length, c.segment, err)
				}
				data, sizes, last := collect(t, e.receive, c.length)
				if !bytes.Equal(data, train) {
					t.Errorf("%d bytes in segments of %d: not the same bytes", c.length, c.segment)
				}
				if len(sizes) != datagramsIn(c.length, c.segment) || sizes[0] != min(c.segment, c.length) {
					t.Errorf("%d bytes in segments of %d arrived as %v", c.length, c.segment, sizes)
				}
				if want := netip.AddrPortFrom(netip.MustParseAddr(ip), e.send.LocalAddr().Port()); last.From != want {
					t.Errorf("it comes from %v, want %v", last.From, want)
				}
			}
		})
	}
}

// A loop that is parked in Receive can be told to look at something else, and can be ended.
func TestReceiveEndsAtItsDeadlineAndAtClose(t *testing.T) {
	for name, c := range map[string]Conn{
		"offloads": listen(t, "127.0.0.1:0", Options{}), "hints": listen(t, "127.0.0.1:0", Options{Refusals: true}),
		"plain": listenPlainOne(t, "127.0.0.1:0"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			receive := func() { ended <- c.ReceiveSpin(batch(), 50*time.Microsecond) }
			go receive() // ends at the deadline below
			if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("past its deadline Receive says %v", err)
			}
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			go receive() // ends at Close below
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close Receive says %v", err)
			}
			if _, err := c.TryReceive(batch()); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close TryReceive says %v", err)
			}
			if err := c.Send([]byte("x"), 1, to(c, "127.0.0.1")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close Send says %v", err)
			}
			if err := c.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the second Close says %v", err)
			}
		})
	}
}

// TryReceive says at once that nothing is there, and finds what is.
func TestTryReceiveNeverWaits(t *testing.T) {
	for name, c := range map[string]Conn{"offloads": listen(t, "127.0.0.1:0", Options{}), "plain": listenPlainOne(t, "127.0.0.1:0")} {
		t.Run(name, func(t *testing.T) {
			b := batch()
			if ok, err := c.TryReceive(b); ok || err != nil {
				t.Fatalf("an empty socket: %v, %v", ok, err)
			}
			if err := c.Send([]byte("hello"), 5, to(c, "127.0.0.1")); err != nil {
				t.Fatal(err)
			}
			for start := time.Now(); ; {
				ok, err := c.TryReceive(b)
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					break
				}
				if time.Since(start) > patience {
					t.Fatal("it never arrived")
				}
			}
			if string(b.Data) != "hello" || b.Segment != 5 {
				t.Errorf("got %q in segments of %d", b.Data, b.Segment)
			}
		})
	}
}

func TestABufferThatIsTooShortIsRefused(t *testing.T) {
	c := listen(t, "127.0.0.1:0", Options{})
	b := &Batch{Buf: make([]byte, MaxReceive-1)}
	if err := c.Receive(b); !errors.Is(err, errShortBuffer) {
		t.Errorf("Receive says %v", err)
	}
	if _, err := c.TryReceive(b); !errors.Is(err, errShortBuffer) {
		t.Errorf("TryReceive says %v", err)
	}
}
