//go:build !race

package stream

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
)

// narrow is a server's socket whose device takes only datagrams of a certain size, and which counts what is sent.
type narrow struct {
	udp.Conn
	largest int
	sent    *atomic.Int64 // datagrams
}

func (n narrow) Send(train []byte, segment int, p udp.Path) error {
	if min(segment, len(train)) > n.largest {
		return udp.ErrTooBig
	}
	n.sent.Add(int64((len(train) + segment - 1) / segment))
	return n.Conn.Send(train, segment, p)
}

// Receive loop, pool and egress of a server and the loop of a client together allocate nothing for a datagram, of either
// size.
func TestDatagramsCostNoAllocations(t *testing.T) {
	const (
		most = 0.002 // a datagram
		once = 250   // the reads of this test, what grows once more, and what goes by time
	)
	for _, largest := range []int{1472, udp.MaxTrain} {
		var sent atomic.Int64
		f := &testFarm{farm: secure.NewFarm([32]byte{9}), image: newMemoryImage(16 << 20)}
		conns, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{})
		if err != nil {
			t.Fatal(err)
		}
		f.addrs = []netip.AddrPort{conns[0].LocalAddr()}
		run(t, NewServer(ServerConfig{
			ID: ServerID{1}, Name: "a", Farm: f.farm, Admitter: &openAdmitter{image: f.image}, Epoch: 1,
			Conns: []udp.Conn{narrow{conns[0], largest, &sent}},
		}).Run)
		c := f.client(t, nil)
		if _, err := c.WaitServing(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := &reader{t: t, c: c, image: f.image}
		r.read(500, 8) // the packet size is found; queues, buffers and slots are made
		var before, after runtime.MemStats
		datagrams := sent.Load()
		runtime.ReadMemStats(&before)
		r.read(2000, 8)
		runtime.ReadMemStats(&after)
		datagrams = sent.Load() - datagrams
		mallocs := after.Mallocs - before.Mallocs
		t.Logf("%d allocations for %d datagrams of up to %d bytes", mallocs, datagrams, c.Snapshot().Packet)
		if float64(mallocs) > once+most*float64(datagrams) {
			t.Errorf("%d allocations for %d datagrams of up to %d bytes", mallocs, datagrams, largest)
		}
	}
}
