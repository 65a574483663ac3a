package simnet

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spate-project/spate/stream/udp"
)

var (
	ipA = netip.MustParseAddr("10.0.0.1")
	ipB = netip.MustParseAddr("10.0.0.2")
	ipC = netip.MustParseAddr("10.0.0.3")
)

func listen(t *testing.T, n *Network, ip netip.Addr, o udp.Options) udp.Conn {
	t.Helper()
	conns, err := n.Listen(netip.AddrPortFrom(ip, 0), o)
	if err != nil {
		t.Fatal(err)
	}
	return conns[0]
}

func path(c udp.Conn) udp.Path { return udp.Path{Remote: c.LocalAddr()} }

// drain receives until nothing comes for an hour.
func drain(t *testing.T, c udp.Conn) (datagrams [][]byte, last time.Time) {
	t.Helper()
	b := &udp.Batch{Buf: make([]byte, udp.MaxReceive)}
	for {
		if err := c.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		switch err := c.Receive(b); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return datagrams, last
		case err != nil:
			t.Fatal(err)
		}
		last = time.Now()
		for d := range b.All() {
			datagrams = append(datagrams, bytes.Clone(d))
		}
	}
}

func send(t *testing.T, from, to udp.Conn, count, size int) {
	t.Helper()
	for i := range count {
		if err := from.Send(bytes.Repeat([]byte{byte(i)}, size), size, path(to)); err != nil {
			t.Fatal(err)
		}
	}
}

// Datagrams take the delay, and what one train brings comes as one batch in the order of sending.
func TestATrainArrivesAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := listen(t, n, ipA, udp.Options{}), listen(t, n, ipB, udp.Options{})
		n.Connect(ipA, ipB, Link{Delay: 25 * time.Millisecond})
		start := time.Now()
		if err := a.Send([]byte("aabbc"), 2, path(b)); err != nil {
			t.Fatal(err)
		}
		in := &udp.Batch{Buf: make([]byte, udp.MaxReceive)}
		if ok, err := b.TryReceive(in); ok || err != nil {
			t.Fatalf("before the delay: %v, %v", ok, err)
		}
		if err := b.Receive(in); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 25*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if string(in.Data) != "aabbc" || in.Segment != 2 || in.From != a.LocalAddr() || in.To != ipB {
			t.Errorf("got %q in segments of %d from %v to %v", in.Data, in.Segment, in.From, in.To)
		}
	})
}

// A bottleneck passes its rate, keeps its queue, and drops the rest; two senders that share it share both.
func TestABottleneckQueuesAndDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b, c := listen(t, n, ipA, udp.Options{}), listen(t, n, ipB, udp.Options{}), listen(t, n, ipC, udp.Options{})
		const size, rate, queue = 1000 - overhead, 1_000_000, 100_000
		neck := n.Pipe(Link{Rate: rate, Queue: queue, Delay: time.Second})
		n.SetRoute(netip.Addr{}, ipC, neck)
		start := time.Now()
		send(t, a, c, 80, size)
		send(t, b, c, 80, size)
		got, last := drain(t, c)
		s := neck.Stats()
		if want := queue / 1000; len(got) < want || len(got) > want+6 || s.Overflow != uint64(160-len(got)) {
			t.Errorf("%d of 160 arrived, %+v", len(got), s)
		}
		if took, want := last.Sub(start), time.Second+time.Duration(len(got))*time.Millisecond; took != want {
			t.Errorf("the last arrived after %v, want %v", took, want)
		}
		if s.MaxQueue < 95*time.Millisecond || s.MaxQueue > 105*time.Millisecond {
			t.Errorf("the longest wait was %v", s.MaxQueue)
		}
	})
}

// Loss, duplication and reordering happen as often as asked for, and again the same with the same seed.
func TestChancesFollowTheSeed(t *testing.T) {
	run := func(seed uint64) (got []byte, stats PipeStats) {
		synctest.Test(t, func(t *testing.T) {
			n := New(seed)
			a, b := listen(t, n, ipA, udp.Options{}), listen(t, n, ipB, udp.Options{})
			pipe, _ := n.Connect(ipA, ipB, Link{Loss: .1, Duplicate: .05, Reorder: .2, ReorderBy: 5 * time.Millisecond, Delay: time.Millisecond})
			for range 40 {
				send(t, a, b, 50, 1)
				time.Sleep(2 * time.Millisecond)
			}
			all, _ := drain(t, b)
			got, stats = bytes.Join(all, nil), pipe.Stats()
		})
		return got, stats
	}
	first, stats := run(7)
	again, _ := run(7)
	other, _ := run(8)
	if !bytes.Equal(first, again) || bytes.Equal(first, other) {
		t.Error("the same seed gives another network, or another seed the same")
	}
	if stats.Lost < 150 || stats.Lost > 250 {
		t.Errorf("%d of 2000 were lost, 10 %% was asked for", stats.Lost)
	}
	if twice := len(first) - int(stats.Datagrams); twice < 50 || twice > 150 {
		t.Errorf("%d of %d came twice, 5 %% was asked for", twice, stats.Datagrams)
	}
	swapped := 0
	for i := range first[1:] {
		if first[i+1] < first[i] && first[i+1] != 0 {
			swapped++
		}
	}
	if swapped < 30 {
		t.Errorf("only %d datagrams were overtaken", swapped)
	}
}

// Partitions, pipes that are down, filters and size limits each make datagrams vanish without a word.
func TestDatagramsVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := listen(t, n, ipA, udp.Options{}), listen(t, n, ipB, udp.Options{})
		there, _ := n.Connect(ipA, ipB, Link{})
		for name, c := range map[string]struct{ on, off func() }{
			"cut":           {func() { n.Cut(ipA, ipB) }, func() { n.Heal(ipA, ipB) }},
			"cut from here": {func() { n.Cut(ipA, netip.Addr{}) }, func() { n.Heal(ipA, netip.Addr{}) }},
			"cut to there":  {func() { n.Cut(netip.Addr{}, ipB) }, func() { n.Heal(netip.Addr{}, ipB) }},
			"down":          {func() { there.SetDown(true) }, func() { there.SetDown(false) }},
			"path":          {func() { there.Set(Link{Path: 99}) }, func() { there.Set(Link{}) }},
			"filter": {func() { n.SetFilter(func(_, _ netip.AddrPort, d []byte) bool { return len(d) < 100 }) },
				func() { n.SetFilter(nil) }},
		} {
			c.on()
			send(t, a, b, 3, 100)
			c.off()
			send(t, a, b, 1, 100)
			if got, _ := drain(t, b); len(got) != 1 {
				t.Errorf("%s: %d arrived, want the one that was sent after it ended", name, len(got))
			}
		}
		there.Set(Link{Device: 99})
		if err := a.Send(make([]byte, 100), 100, path(b)); !errors.Is(err, udp.ErrTooBig) {
			t.Errorf("a datagram larger than the device takes: %v", err)
		}
		if err := a.Send([]byte("x"), 1, udp.Path{Remote: b.LocalAddr(), Local: ipC}); !errors.Is(err, udp.ErrUnreachable) {
			t.Errorf("from an address that is not ours: %v", err)
		}
	})
}

// A receive buffer that nobody empties overflows, and counts it.
func TestAFullReceiveBufferDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := listen(t, n, ipA, udp.Options{}), listen(t, n, ipB, udp.Options{ReceiveBuffer: 10_000})
		send(t, a, b, 30, 1000)
		if got, _ := drain(t, b); len(got) != 10 || b.Counters().Dropped != 20 {
			t.Errorf("%d arrived, %+v", len(got), b.Counters())
		}
	})
}

// Nobody there is told to who asked for it, and a forged sender is believed, as on a real network.
func TestRefusalsAndForgeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Default().Set(Link{Delay: time.Millisecond})
		a, b := listen(t, n, ipA, udp.Options{Refusals: true}), listen(t, n, ipB, udp.Options{})
		gone := path(b)
		b.Close()
		if err := a.Send([]byte("x"), 1, gone); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		in := &udp.Batch{Buf: make([]byte, udp.MaxReceive)}
		var refused *udp.Refused
		if err := a.Receive(in); !errors.As(err, &refused) || refused.Remote != gone.Remote || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("want a refusal, got %v", err)
		}
		if took := time.Since(start); took != 2*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		forged := netip.MustParseAddrPort("203.0.113.9:53")
		n.Inject(forged, a.LocalAddr(), []byte("boo"))
		if err := a.Receive(in); err != nil || in.From != forged || string(in.Data) != "boo" {
			t.Errorf("%v, %q from %v", err, in.Data, in.From)
		}
	})
}

// A Receive that waits is ended by a deadline that is set meanwhile, also by one that has passed.
func TestADeadlineReachesAReceiveThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a := listen(t, n, ipA, udp.Options{})
		for _, ahead := range []time.Duration{time.Second, -time.Second} {
			if err := a.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() { ended <- a.Receive(&udp.Batch{Buf: make([]byte, udp.MaxReceive)}) }() // ends at the deadline
			synctest.Wait()
			start := time.Now()
			if err := a.SetReadDeadline(start.Add(ahead)); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != max(0, ahead) {
				t.Errorf("a deadline in %v: %v after %v", ahead, err, time.Since(start))
			}
		}
	})
}

// Loops of one port each serve their own remote addresses; a port is taken once; Close ends a Receive.
func TestListenAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		server := netip.AddrPortFrom(ipB, 6910)
		loops, err := n.Listen(server, udp.Options{Loops: 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(server, udp.Options{}); err == nil {
			t.Error("the port was given twice")
		}
		for range 60 {
			c := listen(t, n, ipA, udp.Options{})
			for range 2 {
				if err := c.Send([]byte("x"), 1, udp.Path{Remote: server}); err != nil {
					t.Fatal(err)
				}
			}
		}
		total := 0
		for i, c := range loops {
			got, _ := drain(t, c)
			if total += len(got); len(got) == 0 || len(got)%2 != 0 {
				t.Errorf("loop %d got %d datagrams of senders that sent 2 each", i, len(got))
			}
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() { ended <- c.Receive(&udp.Batch{Buf: make([]byte, udp.MaxReceive)}) }() // ends at Close
			synctest.Wait()
			c.Close()
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close Receive says %v", err)
			}
			if err := c.Send([]byte("x"), 1, udp.Path{Remote: server}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close Send says %v", err)
			}
		}
		if total != 120 {
			t.Errorf("%d of 120 arrived", total)
		}
		if _, err := n.Listen(server, udp.Options{}); err != nil {
			t.Errorf("after Close the port is still taken: %v", err)
		}
	})
}
