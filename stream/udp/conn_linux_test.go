package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A machine with several addresses answers from the one that was asked; a firewall or a target drops anything else.
func TestRepliesLeaveFromTheAddressThatWasAsked(t *testing.T) {
	for _, c := range []struct{ server, client, ask string }{
		{"0.0.0.0:0", "127.0.0.1:0", "127.0.0.7"},
		{"[::]:0", "127.0.0.1:0", "127.0.0.7"},
		{"[::]:0", "[::1]:0", "::1"},
	} {
		server, client := listen(t, c.server, Options{}), listen(t, c.client, Options{})
		if err := client.Send([]byte("ask"), 3, to(server, c.ask)); err != nil {
			t.Fatal(err)
		}
		_, _, asked := collect(t, server, 3)
		if asked.To.String() != c.ask {
			t.Errorf("%s: a datagram for %s came to %v", c.server, c.ask, asked.To)
		}
		if err := server.Send(pattern(3000), 1000, Path{Remote: asked.From, Local: asked.To}); err != nil {
			t.Fatal(err)
		}
		_, _, answer := collect(t, client, 3000)
		if answer.From != netip.AddrPortFrom(netip.MustParseAddr(c.ask), server.LocalAddr().Port()) {
			t.Errorf("%s: the answer comes from %v, %s was asked", c.server, answer.From, c.ask)
		}
	}
}

// An ICMP error is a hint about one remote address. It breaks no loop and costs no other address a datagram.
func TestARefusalIsAHintAndNothingElse(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		gone := listen(t, netip.AddrPortFrom(netip.MustParseAddr(ip), 0).String(), Options{})
		there := listen(t, netip.AddrPortFrom(netip.MustParseAddr(ip), 0).String(), Options{})
		nobody := to(gone, ip)
		gone.Close()
		c := listen(t, "[::]:0", Options{Refusals: true})
		for i := range 50 {
			if err := c.Send([]byte("x"), 1, nobody); err != nil {
				t.Fatalf("send %d to nobody: %v", i, err)
			}
			if err := c.Send([]byte("y"), 1, to(there, ip)); err != nil {
				t.Fatalf("send %d to somebody: %v", i, err)
			}
		}
		collect(t, there, 50)
		for range 50 {
			var refused *Refused
			if err := c.Receive(batch()); !errors.As(err, &refused) || refused.Remote != nobody.Remote || !errors.Is(err, unix.ECONNREFUSED) {
				t.Fatalf("want a refusal from %v, got %v", nobody.Remote, err)
			}
		}
		if err := there.Send([]byte("z"), 1, to(c, ip)); err != nil {
			t.Fatal(err)
		}
		collect(t, c, 1)
		if n := c.Counters().Refused; n != 50 {
			t.Errorf("%d refusals counted, 50 came", n)
		}
	}
}

// The second one to ask for a port is told who has it; SO_REUSEPORT must not let it in, wildcard or not.
func TestAPortIsTakenOnceAndTheErrorNamesWho(t *testing.T) {
	first, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Options{Loops: 3})
	if err != nil {
		t.Fatal(err)
	}
	port := first[0].LocalAddr().Port()
	for _, ip := range []string{"127.0.0.1", "0.0.0.0", "::"} {
		_, err := Listen(netip.AddrPortFrom(netip.MustParseAddr(ip), port), Options{Loops: 3})
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Fatalf("%s: %v", ip, err)
		}
		if pid := fmt.Sprintf("pid %d", os.Getpid()); ip == "127.0.0.1" && !strings.Contains(err.Error(), pid) {
			t.Errorf("the error does not name %s: %v", pid, err)
		}
	}
	for _, c := range first {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Listen(netip.AddrPortFrom(netip.MustParseAddr("0.0.0.0"), port), Options{Loops: 2})
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	defer again[0].Close()
	defer again[1].Close()
	if _, err := Listen(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Options{Loops: 2}); err == nil || !strings.Contains(err.Error(), "pid") {
		t.Errorf("beside the wildcard: %v", err)
	}
}

// A program that is not ours and shares its port is not joined either.
func TestAPortSharedByAnotherProgramIsNotJoined(t *testing.T) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, set)
	}}
	other, err := lc.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	addr := other.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := Listen(addr, Options{Loops: 2}); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "ss -ulpn") {
		t.Errorf("got %v", err)
	}
}

// Loops share one port, and remote addresses spread over them.
func TestLoopsShareThePort(t *testing.T) {
	const loops, clients = 4, 64
	conns, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Options{Loops: loops})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan int)
	for i, c := range conns {
		if c.LocalAddr() != conns[0].LocalAddr() {
			t.Errorf("loop %d listens on %v", i, c.LocalAddr())
		}
		go func() { // ends when its Conn is closed below
			for b := batch(); c.Receive(b) == nil; {
				got <- i
			}
		}()
	}
	for range clients {
		if err := listen(t, "127.0.0.1:0", Options{}).Send([]byte("x"), 1, to(conns[0], "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[int]int{}
	for range clients {
		select {
		case i := <-got:
			seen[i]++
		case <-time.After(patience):
			t.Fatalf("datagrams are missing: %v", seen)
		}
	}
	if len(seen) < 2 {
		t.Errorf("all %d addresses went to one of %d loops", clients, loops)
	}
	for _, c := range conns {
		c.Close()
	}
}

// Where a path refuses segments, that path gets single datagrams, and it is said; the other paths keep GSO.
func TestGSOThatFailsOnAPathIsReplacedThere(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EIO, unix.EINVAL} {
		receiver := listen(t, "0.0.0.0:0", Options{})
		c := listen(t, "127.0.0.1:0", Options{}).(*conn)
		if !c.Offloads().GSO {
			t.Skip("this kernel has no UDP_SEGMENT")
		}
		segmented := map[bool]int{}
		for i := range c.senders {
			s := &c.senders[i]
			s.call = func(fd uintptr) {
				gso := s.msg.Controllen > 0
				segmented[gso]++
				if bad := c.zones.get(&s.name).Addr() == netip.MustParseAddr("127.0.0.9"); gso && bad {
					s.errno = errno
					return
				}
				s.sendmsg(fd)
			}
		}
		for range 3 {
			for _, ip := range []string{"127.0.0.9", "127.0.0.8"} {
				if err := c.Send(pattern(10_000), 1000, to(receiver, ip)); err != nil {
					t.Fatal(err)
				}
				if _, sizes, _ := collect(t, receiver, 10_000); len(sizes) != 10 {
					t.Errorf("%s: arrived as %v", ip, sizes)
				}
			}
		}
		if segmented[true] != 1+3 || segmented[false] != 3*10 {
			t.Errorf("%v: %d calls with segments, %d without; want 4 and 30", errno, segmented[true], segmented[false])
		}
		if o := c.Offloads(); !o.GSO || o.PlainPaths != 1 || !strings.Contains(o.GSOReason, "127.0.0.9") {
			t.Errorf("Offloads say %+v", o)
		}
	}
}

// inNamespace runs f in a network namespace of its own, whose loopback device has the given MTU.
func inNamespace(t *testing.T, mtu uint32, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	done := make(chan error)
	go func() { // ends with f; the thread is not reused because it stays locked
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = loopback(mtu)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
}

func loopback(mtu uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint32(mtu)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifr); err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// Too big is told from a path without GSO, and lost from unreachable, because callers do different things about them.
func TestWhyADatagramDidNotLeaveIsTold(t *testing.T) {
	inNamespace(t, 1500, func() {
		for _, o := range []Options{{}, {NoGSO: true}, {Refusals: true}} {
			a, b := listen(t, "0.0.0.0:0", o), listen(t, "127.0.0.1:0", o)
			for _, c := range []struct {
				length, segment int
				want            error
			}{{1472, 1472, nil}, {14720, 1472, nil}, {1473, 1473, ErrTooBig}, {14730, 1473, ErrTooBig}, {9000, 9000, ErrTooBig}} {
				if err := a.Send(pattern(c.length), c.segment, to(b, "127.0.0.1")); !errors.Is(err, c.want) {
					t.Errorf("%+v: %d bytes in segments of %d over an MTU of 1500: %v", o, c.length, c.segment, err)
				}
			}
			if n := a.Offloads().PlainPaths; n != 0 {
				t.Errorf("%+v: datagrams that are too big cost %d paths their GSO", o, n)
			}
			away := Path{Remote: netip.MustParseAddrPort("198.51.100.1:9")}
			if err := a.Send(pattern(3000), 1000, away); !errors.Is(err, ErrUnreachable) || !errors.Is(err, ErrDropped) {
				t.Errorf("%+v: without a route: %v", o, err)
			}
			stale := to(b, "127.0.0.1")
			stale.Local = netip.MustParseAddr("203.0.113.1")
			if err := a.Send(pattern(3000), 1000, stale); !errors.Is(err, ErrUnreachable) {
				t.Errorf("%+v: from an address that is gone: %v", o, err)
			}
			want := Counters{TooBig: 3, Unreachable: 2}
			if got := a.Counters(); got != want {
				t.Errorf("%+v: counted %+v, want %+v", o, got, want)
			}
		}
	})
}

// A socket without a privileged process still works, and what was granted is told.
func TestBuffersAreGrantedAsTold(t *testing.T) {
	c := listen(t, "127.0.0.1:0", Options{ReceiveBuffer: 100_000, SendBuffer: 50_000})
	if o := c.Offloads(); o.ReceiveBuffer < 100_000 || o.SendBuffer < 50_000 {
		t.Errorf("asked for 100000 and 50000, got %d and %d", o.ReceiveBuffer, o.SendBuffer)
	}
}
