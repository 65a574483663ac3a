//go:build !race

package engine

import (
	"runtime"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// Neither end allocates while it moves blocks: requests, answers, and what is
// done with them, in datagrams of either size.
func TestMovingBlocksAllocatesNothing(t *testing.T) {
	for _, packet := range []int{1472, 65000} {
		p := newPair(t, packet)
		from := p.w.servers[0].e.addr
		round := func() {
			p.w.now = p.w.now.Add(time.Millisecond)
			p.ask(t)
			p.answer() // Session.Receive, Jobs, Complete
			for p.s.HasOutput() {
				train := p.s.Fill(p.w.now, p.buf, maxTrain)
				p.w.now = p.w.now.Add(10 * time.Microsecond)
				for at := 0; at < len(train.Data); at += train.Segment {
					p.c.Receive(p.w.now, from, train.Data[at:min(at+train.Segment, len(train.Data))])
				}
				p.c.Flush(p.w.now)
				p.answer() // Client.Take
			}
			p.c.Tick(p.w.now)
			p.s.Tick(p.w.now)
			p.answer()
		}
		for range 50 {
			round() // queues and slots reach their sizes
		}
		if n := testing.AllocsPerRun(200, round); n > 0 {
			t.Errorf("datagrams of %d bytes: %v allocations for a round of %d reads", packet, n, cap(p.free))
		}
	}
}

// A session that has been busy and is idle again holds a few kilobytes, all that
// a server keeps of it counted: the engine's part of 64 KiB.
func TestIdleSessionIsSmall(t *testing.T) {
	const sessions = 500
	w := newWorld(t, 1)
	s := w.addServer("lab-a")
	list := make([]*open, sessions)
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the second one takes what pools held
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	for i := range list {
		o := openByTicket(t, w, s, nil)
		for j := range 64 {
			o.send(attackHome, wire.Read{ID: uint32(j + 1), Count: 1, First: uint64(j)})
		}
		for _, j := range o.sess.Jobs(nil) {
			b := w.image.answer(j.Level, j.First, j.Count)
			o.sess.Complete(w.now, j, &simBuffer{w: w, b: b}, len(b))
		}
		o.drain()
		o.send(attackHome, wire.Status{Seq: 1})
		o.drain()
		*o = open{sess: o.sess} // the target's part is not counted
		list[i] = o
	}
	each := (memory() - before) / sessions
	t.Logf("%d bytes a session", each)
	if each > 8<<10 {
		t.Errorf("an idle session holds %d bytes", each)
	}
	runtime.KeepAlive(list)
	runtime.KeepAlive(w)
}
