package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// pair is a client and a session that know one another, without a network.
type pair struct {
	w    *world
	c    *Client
	s    *Session
	out  Output
	buf  []byte
	free []*Fetch
	jobs []Job
	data *simStatic
}

// simStatic is a buffer that is never given back.
type simStatic struct{ b []byte }

func (b *simStatic) Bytes() []byte { return b.b }
func (b *simStatic) Free()         {}

// newPair connects the two; the session uses datagrams of packet bytes.
func newPair(tb testing.TB, packet int) *pair {
	w := newWorld(tb, 1)
	v := w.addServer("lab-a")
	c := w.addClient(0, 0, 0)
	c.start()
	w.run(50*time.Millisecond, nil)
	if c.c.current == nil || len(v.list) != 1 {
		tb.Fatal("no session")
	}
	p := &pair{w: w, c: c.c, s: v.list[0].Session, buf: make([]byte, maxTrain), data: &simStatic{make([]byte, jobBytes)}}
	p.s.packet, p.s.probeAt, p.s.proven = packet, Never, true
	p.c.current.largest = packet
	p.c.current.win.bytes, p.c.current.win.slowStart = maxWindow, false
	for range 16 {
		p.free = append(p.free, &Fetch{Count: jobBytes / simChunk, Demand: true, Buf: make([]byte, jobBytes), Expect: jobBytes})
	}
	return p
}

// ask hands in all fetches that are free.
func (p *pair) ask(tb testing.TB) {
	for _, f := range p.free {
		if err := p.c.Fetch(p.w.now, f); err != nil {
			tb.Fatal(err)
		}
	}
	p.free = p.free[:0]
	p.c.Flush(p.w.now)
}

// answer carries requests to the session and answers its jobs.
func (p *pair) answer() {
	p.c.Take(&p.out)
	for _, d := range p.out.Sends {
		p.s.Receive(p.w.now, netip.AddrPortFrom(p.s.addr.Addr(), p.s.addr.Port()), netip.Addr{}, d.Data)
	}
	p.free = append(p.free, p.out.Done...)
	for {
		p.jobs = p.s.Jobs(p.jobs[:0])
		if len(p.jobs) == 0 {
			return
		}
		for _, j := range p.jobs {
			b := p.data
			b.b = b.b[:min(cap(b.b), j.To-j.From)]
			p.s.Complete(p.w.now, j, b, jobBytes)
		}
	}
}

// A step of the benchmarks is one train.
func benchmarkFill(b *testing.B, packet int) {
	p := newPair(b, packet)
	b.ReportAllocs()
	n, from := 0, p.w.servers[0].e.addr
	for b.Loop() {
		for !p.s.HasOutput() {
			b.StopTimer()
			p.ask(b)
			p.answer()
			b.StartTimer()
		}
		t := p.s.Fill(p.w.now, p.buf, maxTrain)
		n += len(t.Data)
		b.StopTimer()
		p.w.now = p.w.now.Add(time.Microsecond)
		for at := 0; at < len(t.Data); at += t.Segment {
			p.c.Receive(p.w.now, from, t.Data[at:min(at+t.Segment, len(t.Data))])
		}
		p.answer()
		b.StartTimer()
	}
	b.SetBytes(int64(n / b.N))
}

func benchmarkReceive(b *testing.B, packet int) {
	p := newPair(b, packet)
	b.ReportAllocs()
	n, from := 0, p.w.servers[0].e.addr
	for b.Loop() {
		b.StopTimer()
		for !p.s.HasOutput() {
			p.ask(b)
			p.answer()
		}
		t := p.s.Fill(p.w.now, p.buf, maxTrain)
		n += len(t.Data)
		p.w.now = p.w.now.Add(time.Microsecond)
		b.StartTimer()
		for at := 0; at < len(t.Data); at += t.Segment {
			p.c.Receive(p.w.now, from, t.Data[at:min(at+t.Segment, len(t.Data))])
		}
		p.c.Flush(p.w.now)
		b.StopTimer()
		p.answer()
		b.StartTimer()
	}
	b.SetBytes(int64(n / b.N))
}

func BenchmarkSessionFill(b *testing.B) {
	for _, packet := range []int{1472, 65000} {
		b.Run(fmt.Sprint(packet), func(b *testing.B) { benchmarkFill(b, packet) })
	}
}

func BenchmarkClientReceive(b *testing.B) {
	for _, packet := range []int{1472, 65000} {
		b.Run(fmt.Sprint(packet), func(b *testing.B) { benchmarkReceive(b, packet) })
	}
}
