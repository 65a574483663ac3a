package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/udp"
)

// egress sends for the sessions of one socket, each in its turn.
type egress struct {
	s    *Server
	conn udp.Conn
	mu   sync.Mutex
	line engine.Schedule // guarded by mu
	wake chan struct{}   // holds one token while there may be work
	buf  [udp.MaxTrain]byte
}

func (s *Server) newEgress(conn udp.Conn) *egress {
	return &egress{s: s, conn: conn, wake: make(chan struct{}, 1)}
}

// add puts a session in line. The caller holds the session's lock.
func (g *egress) add(s *engine.Session) {
	g.mu.Lock()
	g.line.Add(s)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends; Server.Run waits for it.
func (g *egress) run(ctx context.Context) {
	for {
		g.mu.Lock()
		sess, limit := g.line.Next()
		g.mu.Unlock()
		if sess == nil {
			select {
			case <-g.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		g.serve(sess, limit)
	}
}

// serve seals and sends one train of a session.
func (g *egress) serve(sess *engine.Session, limit int) {
	e := sess.Owner.(*entry)
	e.mu.Lock()
	t := sess.Fill(g.s.now(), g.buf[:], limit)
	g.s.submitLocked(e)
	g.mu.Lock()
	g.line.Sent(sess, len(t.Data))
	g.mu.Unlock()
	ended := sess.Ended()
	e.mu.Unlock()
	if len(t.Data) > 0 {
		g.send(t)
	}
	if ended {
		g.s.finish(e)
	}
}

// send sends a train. A full socket buffer is waited for shortly; what it does
// not take then is lost like in a network, and asked for again.
func (g *egress) send(t engine.Train) {
	path := udp.Path{Remote: t.To, Local: t.Local}
	for try := 0; ; try++ {
		err := g.conn.Send(t.Data, t.Segment, path)
		switch {
		case err == nil:
			g.s.counters.sent.Add(uint64(len(t.Data)))
			return
		case errors.Is(err, udp.ErrDropped) && !errors.Is(err, udp.ErrUnreachable) && try < sendRetries:
			time.Sleep(sendPause)
		default:
			g.s.counters.dropped.Add(1)
			return
		}
	}
}
