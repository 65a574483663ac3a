package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A machine without a disk loads a firewall that drops everything, in the two ways that firewalls are written; its
// conversation goes on, and returns to the ordinary way when the firewall is taken away.
func TestAConversationOutlivesAFirewallThatDropsEverything(t *testing.T) {
	for _, rules := range []string{
		"chain in { type filter hook input priority 0; policy drop; }\n",
		"chain in { type filter hook input priority 0; policy drop; }\nchain out { type filter hook output priority 0; policy drop; }\n",
	} {
		n := twoNamespaces(t)
		notes := make(chan string, 16)
		far := n.listen(t, n.far, "192.0.2.2")
		near := Bypass(n.listen(t, n.near, "0.0.0.0"), BypassOptions{
			Hop: func(remote netip.Addr) (Hop, bool) {
				return Hop{Index: n.index, Source: netip.MustParseAddr("192.0.2.1"), Next: remote}, true
			},
			Note: func(s string) { notes <- s },
		})
		near.(*bypass).watch.every = 500 * time.Millisecond
		echoed := make(chan error)
		// Ends when far is closed below.
		go func() { echoed <- echo(far) }()
		speak := func(datagrams int, within time.Duration) {
			t.Helper()
			n.near.do(t, func() error { return talk(near, far.LocalAddr(), datagrams, within) })
		}
		speak(20, 10*time.Second) // with the time that a new Ethernet takes to be ready

		n.near.do(t, func() error { return run("table inet wall {\n"+rules+"}\n", "nft", "-f", "-") })
		speak(200, 10*time.Second)
		select {
		case s := <-notes:
			if !strings.Contains(s, "packet filter") {
				t.Errorf("told: %s", s)
			}
		default:
			t.Error("the way was changed without a word")
		}
		n.near.do(t, func() error { return withoutAllocations(near, far.LocalAddr()) })
		n.near.do(t, func() error { return run("", "nft", "delete", "table", "inet", "wall") })
		for deadline := time.Now().Add(10 * time.Second); ; {
			speak(20, 5*time.Second)
			if s := pending(notes); strings.Contains(s, "ordinary") {
				break
			}
			if time.Now().After(deadline) {
				t.Error("the ordinary way is not taken again")
				break
			}
		}
		if err := errors.Join(near.Close(), far.Close(), <-echoed); err != nil {
			t.Error(err)
		}
	}
}

// While nobody answers both ways are tried in turn, and nothing is said: there is nothing to say of a packet filter.
func TestSilenceOfAllServersIsNotTakenForAFirewall(t *testing.T) {
	n := twoNamespaces(t)
	notes := make(chan string, 64)
	near := Bypass(n.listen(t, n.near, "0.0.0.0"), BypassOptions{
		Hop: func(remote netip.Addr) (Hop, bool) {
			return Hop{Index: n.index, Source: netip.MustParseAddr("192.0.2.1"), Next: remote}, true
		},
		Note: func(s string) { notes <- s },
	})
	turns, around := 0, false
	n.near.do(t, func() error {
		batch := Batch{Buf: make([]byte, MaxReceive)}
		for end := time.Now().Add(2*silentPatience + trialPeriod); time.Now().Before(end); {
			if err := near.Send([]byte("anybody?"), 8, Path{Remote: netip.MustParseAddrPort("192.0.2.9:6910")}); err != nil && !errors.Is(err, ErrUnreachable) {
				return err
			}
			if err := near.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				return err
			}
			if err := near.Receive(&batch); !errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("received: %w", err)
			}
			if now := near.(*bypass).around.Load() != nil; now != around {
				turns, around = turns+1, now
			}
		}
		return near.Close()
	})
	if s := pending(notes); s != "" || turns < 2 {
		t.Errorf("told %q after %d changes of the way", s, turns)
	}
}

func pending(c chan string) string {
	select {
	case s := <-c:
		return s
	default:
		return ""
	}
}

// talk has n datagrams echoed, one after the other, each asked for again until it comes, as the protocol does.
func talk(c Conn, to netip.AddrPort, n int, within time.Duration) error {
	const again = 20 * time.Millisecond
	end := time.Now().Add(within)
	b := Batch{Buf: make([]byte, MaxReceive)}
	for i := range n {
		want := fmt.Sprintf("datagram %d at %d", i, end.UnixNano())
		for got := ""; got != want; {
			if time.Now().After(end) {
				return fmt.Errorf("%d of %d datagrams in %v", i, n, within)
			}
			if err := c.Send([]byte(want), len(want), Path{Remote: to}); err != nil && !errors.Is(err, ErrDropped) {
				return err
			}
			if err := c.SetReadDeadline(time.Now().Add(again)); err != nil {
				return err
			}
			switch err := c.Receive(&b); {
			case err == nil:
				got = string(b.Data)
			case !errors.Is(err, os.ErrDeadlineExceeded):
				return err
			}
		}
	}
	return nil
}

func echo(c Conn) error {
	b := Batch{Buf: make([]byte, MaxReceive)}
	for {
		switch err := c.Receive(&b); {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		switch err := c.Send(b.Data, b.Segment, Path{Remote: b.From, Local: b.To}); {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && !errors.Is(err, ErrDropped):
			return err
		}
	}
}

// namespace is a thread that lives in a network namespace of its own and does what it is told.
type namespace struct {
	work chan func() error
	done chan error
	tid  int
}

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{work: make(chan func() error), done: make(chan error)}
	ready := make(chan error)
	// Ends with the test, and its thread with it, because it stays locked.
	go func() {
		runtime.LockOSThread()
		n.tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.work {
			n.done <- f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { close(n.work) })
	return n
}

func (n *namespace) do(t *testing.T, f func() error) {
	t.Helper()
	n.work <- f
	if err := <-n.done; err != nil {
		t.Fatal(err)
	}
}

func run(input, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// pair is two namespaces with an Ethernet between them, 192.0.2.1 and 192.0.2.2.
type pair struct {
	near, far *namespace
	index     int // of the near interface
}

func twoNamespaces(t *testing.T) *pair {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	p := &pair{near: newNamespace(t), far: newNamespace(t)}
	p.near.do(t, func() error {
		return errors.Join(
			run("", "ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", strconv.Itoa(p.far.tid)),
			run("", "ip", "address", "add", "192.0.2.1/24", "dev", "near"), run("", "ip", "link", "set", "near", "up"))
	})
	p.far.do(t, func() error {
		return errors.Join(run("", "ip", "address", "add", "192.0.2.2/24", "dev", "far"), run("", "ip", "link", "set", "far", "up"))
	})
	p.near.do(t, func() error {
		card, err := net.InterfaceByName("near")
		if err == nil {
			p.index = card.Index
		}
		return err
	})
	return p
}

func (p *pair) listen(t *testing.T, n *namespace, addr string) (c Conn) {
	t.Helper()
	n.do(t, func() error {
		conns, err := Listen(netip.AddrPortFrom(netip.MustParseAddr(addr), 0), Options{})
		if err == nil {
			c = conns[0]
		}
		return err
	})
	return c
}
