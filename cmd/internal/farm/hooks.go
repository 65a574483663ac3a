package farm

import (
	"bytes"
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/logging"
)

// hooks are what memberlist calls. None of them may block.
type hooks struct{ p *Peers }

// NodeMeta is what is told with the membership.
func (h hooks) NodeMeta(limit int) []byte {
	b, err := encodeMeta(h.p.o.Meta)
	if err != nil || len(b) > limit {
		h.p.log.Error("the server's metadata does not fit", zap.Int("limit", limit), zap.Error(err))
		return nil
	}
	return b
}

// NotifyMsg takes a message of another server. The bytes are memberlist's.
func (h hooks) NotifyMsg(b []byte) {
	p := h.p
	message, err := decode(b)
	if err != nil {
		p.log.Warn("a peer said something that this program does not understand; their versions may differ", zap.Error(err))
		return
	}
	switch m := message.(type) {
	case report:
		now := time.Now()
		p.mu.Lock()
		before := p.book.state(m.From)
		counts, ask := p.book.take(now, m)
		changed := counts && before != m.State
		p.mu.Unlock()
		if changed {
			p.changed()
		}
		if counts {
			p.o.LearnEpoch(m.Epoch)
		}
		if ask {
			p.background(func() {
				if err := p.send(m.From, encode(kindWish, wish{p.o.Name})); err != nil {
					p.log.Debug("inventory not asked for", zap.Error(err))
				}
			})
		}
	case inventory:
		p.mu.Lock()
		news := p.book.hold(m)
		p.mu.Unlock()
		if news {
			// What that server may serve has changed, and with it everybody's alternates.
			p.changed()
		}
	case wish:
		p.sendInventory(m.From)
	case call:
		p.serve(m)
	case answer:
		if m.Start == p.o.Meta.Start {
			p.calls.answered(m)
		}
	case cancel:
		p.calls.cancelled(m)
	}
}

// GetBroadcasts returns nothing: all that servers tell goes to each directly.
func (h hooks) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState returns nothing: state is told in reports.
func (h hooks) LocalState(bool) []byte { return nil }

// MergeRemoteState has nothing to merge.
func (h hooks) MergeRemoteState([]byte, bool) {}

// NotifyAlive refuses members that the farm file does not name.
func (h hooks) NotifyAlive(n *memberlist.Node) error {
	if n.Name == h.p.o.Name || h.p.o.Known == nil || h.p.o.Known(n.Name) {
		return nil
	}
	return fmt.Errorf("server %q at %s is not in the farm file", n.Name, n.Address())
}

// NotifyJoin is called when a server became a member.
func (h hooks) NotifyJoin(n *memberlist.Node) { h.member(n) }

// NotifyUpdate is called when a member changed what it tells with its membership.
func (h hooks) NotifyUpdate(n *memberlist.Node) { h.member(n) }

func (h hooks) member(n *memberlist.Node) {
	p := h.p
	if n.Name == p.o.Name {
		return // the book knows this server from the beginning
	}
	m, err := decodeMeta(n.Meta)
	if err != nil {
		p.log.Warn("a peer's metadata cannot be read; its program may be of another version",
			zap.String(logging.KeyServer, n.Name), zap.Error(err))
		return
	}
	p.mu.Lock()
	p.members[n.Name] = *n
	news := p.book.join(time.Now(), n.Name, m)
	p.mu.Unlock()
	if news {
		p.log.Info("server is alive", zap.String(logging.KeyServer, n.Name), zap.String(logging.KeyAddr, n.Address()))
		p.sendInventory(n.Name)
		p.changed()
	}
}

// NotifyLeave is called when a member left or was found dead.
func (h hooks) NotifyLeave(n *memberlist.Node) {
	p := h.p
	if n.Name == p.o.Name {
		return // our own end, which nobody needs to be told of
	}
	p.mu.Lock()
	delete(p.members, n.Name)
	p.book.leave(n.Name)
	p.mu.Unlock()
	p.changed()
	p.calls.lost(n.Name, Errorf(ErrorUnavailable, "server %s died or left while it worked", n.Name))
	if n.State == memberlist.StateLeft {
		p.log.Info("server left", zap.String(logging.KeyServer, n.Name))
	} else {
		p.log.Warn("server is not alive", zap.String(logging.KeyServer, n.Name))
	}
}

// lineLog writes memberlist's log lines, which begin with a level in brackets, to zap. What memberlist takes
// for a warning is its ordinary work here, such as a refused ping of a dead peer; events say what matters.
type lineLog struct{ log *zap.Logger }

func (l lineLog) Write(b []byte) (int, error) {
	text := bytes.TrimSpace(b)
	if i := bytes.IndexByte(text, '['); i >= 0 {
		text = text[i:]
	}
	if level, rest, ok := bytes.Cut(text, []byte("] ")); ok {
		if rest = bytes.TrimPrefix(rest, []byte("memberlist: ")); bytes.Equal(level, []byte("[ERR")) {
			l.log.Info(string(rest))
			return len(b), nil
		}
		text = rest
	}
	l.log.Debug(string(text))
	return len(b), nil
}
