package farm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/logging"
)

// callbook keeps the calls that this server makes and those that it serves.
type callbook struct {
	mu     sync.Mutex // guards all fields
	number uint64
	made   map[uint64]*waiting
	served map[servedKey]context.CancelFunc
	once   map[string]*once // by caller
	ended  error
}

type servedKey struct {
	from          string
	start, number uint64
}

// waiting is a call whose last answer has not come. Answers are put in order before the caller sees them.
type waiting struct {
	to      string
	next    int
	early   map[int]answer
	answers []answer
	failed  error
	wake    chan struct{} // has room for one
}

func (c *callbook) init() {
	c.made, c.served, c.once = map[uint64]*waiting{}, map[servedKey]context.CancelFunc{}, map[string]*once{}
}

func (w *waiting) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// begin numbers a new call.
func (c *callbook) begin(to string) (uint64, *waiting, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return 0, nil, c.ended
	}
	if len(c.made) >= maxCalls {
		return 0, nil, Errorf(ErrorUnavailable, "this server waits for %d other calls already; try again", len(c.made))
	}
	c.number++
	w := &waiting{to: to, early: map[int]answer{}, wake: make(chan struct{}, 1)}
	c.made[c.number] = w
	return c.number, w, nil
}

func (c *callbook) forget(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.made, number)
}

// take returns what came for a call since the last time.
func (c *callbook) take(w *waiting) ([]answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := w.answers
	w.answers = nil
	return got, w.failed
}

// answered hands an answer to its call.
func (c *callbook) answered(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.made[a.Number]
	if w == nil || w.to != a.From || a.Seq < w.next || len(w.early) >= maxEarly {
		return // nobody waits, or a message that was sent again
	}
	w.early[a.Seq] = a
	for {
		next, ok := w.early[w.next]
		if !ok {
			break
		}
		delete(w.early, w.next)
		w.answers = append(w.answers, next)
		w.next++
	}
	w.signal()
}

// lost ends all calls to and from a server.
func (c *callbook) lost(server string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.made {
		if w.to == server {
			w.failed = err
			w.signal()
		}
	}
	for key, stop := range c.served {
		if key.from == server {
			stop()
		}
	}
}

// end ends everything.
func (c *callbook) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = err
	for _, w := range c.made {
		w.failed = err
		w.signal()
	}
	for _, stop := range c.served {
		stop()
	}
}

func (c *callbook) cancelled(m cancel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stop := c.served[servedKey{m.From, m.Start, m.Number}]; stop != nil {
		stop()
	}
}

// accept notes a call that is to be served, unless it was seen before or there are too many.
func (c *callbook) accept(m call, stop context.CancelFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.once[m.From]
	if o == nil {
		o = &once{}
		c.once[m.From] = o
	}
	switch {
	case c.ended != nil:
		return c.ended
	case !o.first(m.Start, m.Number):
		return errSeenBefore
	case len(c.served) >= maxCalls:
		return Errorf(ErrorUnavailable, "the server serves %d other calls already; try again", len(c.served))
	}
	c.served[servedKey{m.From, m.Start, m.Number}] = stop
	return nil
}

func (c *callbook) done(m call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.served, servedKey{m.From, m.Start, m.Number})
}

var errSeenBefore = errors.New("seen before")

// Call asks another server to do something and hands every answer to each, in order, the last one too. It
// returns the error with which the other server ended, or why there was no end. Nobody knows then whether the
// other server did what it was asked.
func (p *Peers) Call(ctx context.Context, to, method string, body any, each func(json.RawMessage) error) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("call %s of %s: %w", method, to, err)
	}
	start, ok := p.startOf(to)
	if !ok {
		return Errorf(ErrorUnavailable, "server %s cannot be reached: it is not alive", to)
	}
	number, w, err := p.calls.begin(to)
	if err != nil {
		return err
	}
	defer p.calls.forget(number)
	within := maxCallTime
	if deadline, ok := ctx.Deadline(); ok {
		within = max(time.Until(deadline), time.Millisecond)
	}
	m := call{p.o.Name, p.o.Meta.Start, start, number, method, raw, within}
	if err := p.send(to, encode(kindCall, m)); err != nil {
		return err
	}
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			p.background(func() {
				if err := p.send(to, encode(kindCancel, cancel{p.o.Name, p.o.Meta.Start, number})); err != nil {
					p.log.Debug("call not cancelled", zap.Error(err))
				}
			})
			return Errorf(ErrorUnfinished, "server %s has not answered in time", to)
		}
		answers, failed := p.calls.take(w)
		for _, a := range answers {
			if len(a.Body) > 0 {
				if err := each(a.Body); err != nil {
					return err
				}
			}
			if a.Last && a.Code != "" {
				return &Error{a.Code, a.Text}
			}
			if a.Last {
				return nil
			}
		}
		if failed != nil {
			return failed
		}
	}
}

// startOf returns the present start number of a member.
func (p *Peers) startOf(name string) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.book.peers[name]
	if e == nil || !e.member {
		return 0, false
	}
	return e.meta.Start, true
}

// serve answers a call in the background, unless it comes from an earlier life of either end or a second time.
func (p *Peers) serve(m call) {
	if start, ok := p.startOf(m.From); !ok || start != m.Start || m.To != p.o.Meta.Start {
		p.log.Debug("a call of an earlier life", zap.String(logging.KeyServer, m.From))
		return
	}
	ctx, stop := context.WithTimeout(p.running, m.Within)
	last := answer{From: p.o.Name, Number: m.Number, Start: m.Start, Last: true}
	refused := p.calls.accept(m, stop)
	if errors.Is(refused, errSeenBefore) {
		stop()
		p.log.Warn("a call came a second time and was not served again", zap.String(logging.KeyServer, m.From))
		return
	}
	p.background(func() {
		defer stop()
		if refused != nil {
			last.fail(refused)
		} else {
			p.attend(ctx, m, &last)
			p.calls.done(m)
		}
		if err := p.send(m.From, encode(kindAnswer, last)); err != nil {
			p.log.Debug("answer not sent", zap.String(logging.KeyServer, m.From), zap.Error(err))
		}
	})
}

// attend serves one call and fills its last answer.
func (p *Peers) attend(ctx context.Context, m call, last *answer) {
	reply := func(v any) error {
		a := answer{From: p.o.Name, Number: m.Number, Start: m.Start, Seq: last.Seq}
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		a.Body = raw
		last.Seq++
		return p.send(m.From, encode(kindAnswer, a))
	}
	v, err := p.o.Serve(ctx, m.Method, m.Body, reply)
	if err == nil && v != nil {
		last.Body, err = json.Marshal(v)
	}
	switch {
	case err != nil && p.running.Err() != nil:
		err = Errorf(ErrorUnavailable, "server %s is shutting down", p.o.Name)
	case err != nil && ctx.Err() != nil:
		err = Errorf(ErrorUnfinished, "server %s did not finish in time", p.o.Name)
	}
	if err != nil {
		if CodeOf(err) == ErrorInternal {
			p.log.Error("a peer's call failed", zap.String(logging.KeyServer, m.From), zap.String("method", m.Method), zap.Error(err))
		}
		last.fail(err)
	}
}

// fail makes an answer of an error. What is internal stays in the log.
func (a *answer) fail(err error) {
	a.Body, a.Code, a.Text = nil, CodeOf(err), err.Error()
	if a.Code == ErrorInternal {
		a.Text = "internal error of server " + a.From + "; its log says more"
	}
	a.Text = a.Text[:min(len(a.Text), maxTextBytes)]
}
