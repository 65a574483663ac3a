package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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
	link      *link
}

// Join begins the worker's process: it finds its keeper, and makes itself last as long as it can.
func Join() (*Post, error) {
	l, err := newLink(os.NewFile(linkFD, "link"))
	if err != nil {
		return nil, err
	}
	p := &Post{link: l}
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
	p.State = m.State
	for _, bad := range protect(workerMemory) {
		p.Say(Problem, "worker: "+bad.Error())
	}
	return p, nil
}

// Say tells a person a line.
func (p *Post) Say(kind Kind, text string) { p.send(Event{Kind: kind, Text: text}) }

// Reach tells PID 1 and later workers that a stage was reached just now.
func (p *Post) Reach(s Stage) { p.send(Event{Kind: Reached, Stage: s}) }

// Ready tells PID 1 that the disk is there.
func (p *Post) Ready(d Disk) { p.send(Event{Kind: Ready, Disk: &d}) }

func (p *Post) send(e Event) {
	e.At = sinceBoot()
	_ = p.link.conn.SetWriteDeadline(time.Now().Add(tellPatience)) // a line that cannot be told must not stop the disk
	_ = p.link.send(message{Event: &e})
}

// Keep gives the keeper what a successor must know. When it returns without an error the successor will.
func (p *Post) Keep(state any) error {
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	_ = p.link.conn.SetWriteDeadline(time.Now().Add(keepPatience))
	return p.link.send(message{State: b})
}

// keepPatience is how long Keep may take before it is an error.
const keepPatience = 10 * time.Second

// Next waits for a stage of the boot that PID 1 or an earlier worker has reached. An error says that the keeper has gone.
func (p *Post) Next(ctx context.Context) (Event, error) {
	for {
		m, err := p.link.receive(ctx)
		if err != nil {
			return Event{}, err
		}
		if m.Event != nil {
			return *m.Event, nil
		}
	}
}
