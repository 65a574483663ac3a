package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Post is the worker's end of the link to its keeper. Its methods may be called from any goroutine.
type Post struct {
	// Config is what PID 1 has said.
	Config Config
	// State is what the last worker kept, nil for the first.
	State json.RawMessage
	// Data and Map are the memory of the write cache.
	Data, Map *os.File
	link      atomic.Pointer[link]
	sending   sync.Mutex // held by whoever waits until the keeper has room
	keeper    int        // process of the keeper that has started us
	heir      *exec.Cmd  // the keeper that we have started, or nil; belongs to NewKeeper

	mu     sync.Mutex // guards what follows, which is what another keeper is told
	kept   json.RawMessage
	stages []Event
}

// Join begins the worker's process: it finds its keeper, and makes itself last as long as it can.
func Join() (*Post, error) {
	l, err := newLink(os.NewFile(linkFD, "link"))
	if err != nil {
		return nil, err
	}
	p := &Post{}
	p.link.Store(l)
	if p.keeper, err = l.peer(); err != nil {
		return nil, err
	}
	if p.Data, err = above(dataFD, "write cache"); err != nil {
		return nil, err
	}
	if p.Map, err = above(mapFD, "write cache map"); err != nil {
		return nil, err
	}
	m, err := l.receive(context.Background())
	if err != nil || m.Config == nil {
		return nil, errors.Join(errors.New("the keeper did not say what to attach"), err)
	}
	p.Config = *m.Config
	if m, err = l.receive(context.Background()); err != nil {
		return nil, fmt.Errorf("the keeper did not say what was before: %w", err)
	}
	p.State, p.kept = m.State, m.State
	for _, bad := range protect(workerMemory) {
		p.Say(Problem, "worker: "+bad.Error())
	}
	return p, nil
}

// Say tells a person a line. It never waits: a line for which there is no room, because the console takes none, is lost. Who
// speaks may hold what the disk needs.
func (p *Post) Say(kind Kind, text string) {
	// Lost, as said above.
	_ = p.link.Load().sendNow(message{Event: &Event{Kind: kind, At: sinceBoot(), Text: text}})
}

// Log writes a line to the kernel's log, without the keeper. It may wait for a console.
func (p *Post) Log(kind Kind, text string) {
	if f, err := os.OpenFile(kernelLog, os.O_WRONLY, 0); err == nil { // a worker that nobody hears goes on all the same
		record(f, kind, text)
		f.Close()
	}
}

// Reach tells PID 1 and later workers that a stage was reached just now, and returns what it has told.
func (p *Post) Reach(s Stage) Event { return p.tell(Event{Kind: Reached, Stage: s}) }

// Ready tells PID 1 that the disk is there.
func (p *Post) Ready(d Disk) { p.tell(Event{Kind: Ready, Disk: &d}) }

func (p *Post) tell(e Event) Event {
	e.At = sinceBoot()
	p.note(e)
	_ = p.send(message{Event: &e}, tellPatience) // what cannot be told must not stop the disk
	return e
}

func (p *Post) send(m message, patience time.Duration) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	l := p.link.Load()
	_ = l.conn.SetWriteDeadline(time.Now().Add(patience)) // fails on a closed socket only
	return l.send(m)
}

// note notes a stage for another keeper: when it was reached first, as keepers do.
func (p *Post) note(e Event) {
	if e.Kind != Reached {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.ContainsFunc(p.stages, func(s Event) bool { return s.Stage == e.Stage }) {
		p.stages = append(p.stages, e)
	}
}

// Keep gives the keeper what a successor must know. When it returns without an error the successor will.
func (p *Post) Keep(state any) error {
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := p.send(message{State: b}, keepPatience); err != nil {
		return err
	}
	p.mu.Lock()
	p.kept = b
	p.mu.Unlock()
	return nil
}

// keepPatience is how long Keep may take before it is an error.
const keepPatience = 10 * time.Second

// Next waits for a stage of the boot that PID 1 or an earlier worker has reached. io.EOF says that the keeper has gone.
func (p *Post) Next(ctx context.Context) (Event, error) {
	for {
		m, err := p.link.Load().receive(ctx)
		switch {
		case errors.Is(err, errMessage):
			continue
		case err != nil && ctx.Err() == nil:
			return Event{}, io.EOF // whatever it is: nothing will come any more
		case err != nil:
			return Event{}, err
		}
		if m.Event != nil {
			p.note(*m.Event)
			return *m.Event, nil
		}
	}
}
