package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/udp"
)

// egress sends for the sessions of one socket, each in its turn. Whoever holds
// turn sends: mostly the receive loop of the same socket, in between; else the
// goroutine that run is, which may wait for the socket.
type egress struct {
	s    *Server
	conn udp.Conn
	mu   sync.Mutex
	line engine.Schedule // guarded by mu
	wake chan struct{}   // holds one token while there may be work for run

	turn   sync.Mutex         // taken before a session's lock and before mu
	buf    [udp.MaxTrain]byte // guarded by turn
	unsent engine.Train       // guarded by turn: lies in buf, the socket was full
}

func (s *Server) newEgress(conn udp.Conn) *egress {
	return &egress{s: s, conn: conn, wake: make(chan struct{}, 1)}
}

// add puts a session in line. The caller holds the session's lock, and sees to
// it that somebody sends.
func (g *egress) add(s *engine.Session) {
	g.mu.Lock()
	g.line.Add(s)
	g.mu.Unlock()
}

// call has run send what is in line.
func (g *egress) call() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends; Server.Run waits for it.
func (g *egress) run(ctx context.Context) {
	for {
		g.turn.Lock()
		if len(g.unsent.Data) > 0 {
			g.insist()
		}
		sent := g.serve(nil)
		if len(g.unsent.Data) > 0 {
			g.insist()
		}
		g.turn.Unlock()
		if sent {
			continue
		}
		select {
		case <-g.wake:
		case <-ctx.Done():
			return
		}
	}
}

// try sends one train for the loop, unless there is none or somebody else is at
// it, who then sends on.
func (g *egress) try(l *loop) bool {
	if !g.turn.TryLock() {
		g.call()
		return false
	}
	sent := len(g.unsent.Data) == 0 && g.serve(l)
	full := len(g.unsent.Data) > 0
	g.turn.Unlock()
	if full {
		g.call()
	}
	return sent && !full
}

// serve seals and sends one train of the session whose turn it is; false when
// nobody is in line. What the socket has no room for is in unsent then. The
// caller holds turn.
func (g *egress) serve(l *loop) bool {
	g.mu.Lock()
	sess, limit := g.line.Next()
	g.mu.Unlock()
	if sess == nil {
		return false
	}
	e := sess.Owner.(*entry)
	e.mu.Lock()
	t := sess.Fill(g.s.now(), g.buf[:], limit)
	g.s.submitLocked(e, l)
	g.mu.Lock()
	g.line.Sent(sess, len(t.Data))
	g.mu.Unlock()
	ended := sess.Ended()
	e.mu.Unlock()
	if len(t.Data) > 0 && !g.send(t) {
		g.unsent = t
	}
	if ended {
		g.s.finish(e)
	}
	return true
}

// insist sends the train that the socket had no room for. It waits for a short
// while; what the socket does not take then is lost like in a network, and asked
// for again. The caller holds turn.
func (g *egress) insist() {
	t := g.unsent
	g.unsent = engine.Train{}
	for range sendRetries {
		time.Sleep(sendPause)
		if g.send(t) {
			return
		}
	}
	g.s.counters.dropped.Add(1)
}

// send sends a train, or loses it like a network; false when the socket's
// buffer is full now.
func (g *egress) send(t engine.Train) bool {
	err := g.conn.Send(t.Data, t.Segment, udp.Path{Remote: t.To, Local: t.Local})
	switch {
	case err == nil:
		g.s.counters.sent.Add(uint64(len(t.Data)))
	case errors.Is(err, udp.ErrDropped) && !errors.Is(err, udp.ErrUnreachable):
		return false
	default:
		g.s.counters.dropped.Add(1)
	}
	return true
}
