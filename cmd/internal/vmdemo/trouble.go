package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// trouble is something that happens to the server that serves the machine, and its end.
type trouble struct {
	begins, ends string                       // what people read, after the name of the server
	how, undone  func(s *vmlab.Server) string // the commands by which a person does it
	make         func(ctx context.Context, s *vmlab.Server) (said string, err error)
	mend         func(ctx context.Context, s *vmlab.Server) (said string, err error)
}

var troubles = []trouble{
	{
		begins: "is stopped", ends: "serves again",
		how:    func(s *vmlab.Server) string { return "spate server stop-stream " + s.Name },
		undone: func(s *vmlab.Server) string { return "spate server start-stream " + s.Name },
		make: func(ctx context.Context, s *vmlab.Server) (string, error) {
			return s.Spate(ctx, "server", "stop-stream", s.Name)
		},
		mend: func(ctx context.Context, s *vmlab.Server) (string, error) {
			return s.Spate(ctx, "server", "start-stream", s.Name)
		},
	},
	{
		begins: "is killed", ends: "is started",
		how:    func(s *vmlab.Server) string { return fmt.Sprintf("kill -9 %d", s.PID()) },
		undone: func(s *vmlab.Server) string { return "spated --server " + s.Name },
		make:   func(_ context.Context, s *vmlab.Server) (string, error) { s.Kill(); return "", nil },
		mend: func(ctx context.Context, s *vmlab.Server) (string, error) {
			if err := s.Start(); err != nil {
				return "", err
			}
			_, err := s.Await(ctx, "ready")
			return "", err
		},
	},
	{
		begins: "is frozen", ends: "thaws",
		how:    func(s *vmlab.Server) string { return fmt.Sprintf("kill -STOP %d", s.PID()) },
		undone: func(s *vmlab.Server) string { return fmt.Sprintf("kill -CONT %d", s.PID()) },
		make:   func(_ context.Context, s *vmlab.Server) (string, error) { return "", s.Signal(syscall.SIGSTOP) },
		mend:   func(_ context.Context, s *vmlab.Server) (string, error) { return "", s.Signal(syscall.SIGCONT) },
	},
}

// settle is how long a target may take until a server tells that it serves it. One that reads nothing looks for its server every
// ten seconds.
const settle = 15 * time.Second

// trouble lets troubles happen until ctx ends, one every while. Each lasts for half of it.
func (d *demo) trouble(ctx context.Context, every time.Duration) error {
	for i := 0; ; i++ {
		begin := time.Now()
		victim, err := d.serving(ctx, d.farm.Servers...)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // it starts again, or somebody has a server of their own down
			d.screen.note("no server serves the machine now")
			continue
		}
		if i > 0 {
			d.screen.note("%s", d.record.paused())
		}
		if err := d.one(ctx, troubles[i%len(troubles)], victim, begin.Add(every/2)); err != nil {
			return over(ctx, err)
		}
		if !sleepUntil(ctx, begin.Add(every)) {
			return nil
		}
	}
}

// one lets one trouble happen to a server, until that moment.
func (d *demo) one(ctx context.Context, what trouble, victim *vmlab.Server, until time.Time) error {
	d.screen.note("%s, which serves the machine, %s: %s", victim.Name, what.begins, what.how(victim))
	said, err := what.make(ctx, victim)
	if err != nil {
		return err
	}
	d.record.happens()
	d.say(said)
	if other, err := d.serving(ctx, d.farm.Other(victim)); err == nil {
		d.screen.note("%s serves the machine", other.Name)
	} else if ctx.Err() == nil {
		d.screen.note("the machine has not asked the other server for anything")
	}
	if !sleepUntil(ctx, until) {
		return nil
	}
	d.screen.note("%s %s: %s", victim.Name, what.ends, what.undone(victim))
	if said, err = what.mend(ctx, victim); err != nil {
		return err
	}
	d.say(said)
	return nil
}

// over is err, unless it only says that the time is over.
func over(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// say shows what a program has said.
func (d *demo) say(text string) {
	if text = strings.TrimSpace(text); text != "" {
		d.screen.note("%s", text)
	}
}

// serving finds the one of these servers that serves the machine.
func (d *demo) serving(ctx context.Context, of ...*vmlab.Server) (*vmlab.Server, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, settle, fmt.Errorf("it took longer than %v", settle))
	defer cancel()
	server, target, err := d.farm.Serving(ctx, d.machine.MAC, of...)
	if err == nil {
		d.record.target(target)
	}
	return server, err
}

// sleepUntil tells whether the moment has come before ctx ended.
func sleepUntil(ctx context.Context, moment time.Time) bool {
	select {
	case <-time.After(time.Until(moment)):
		return true
	case <-ctx.Done():
		return false
	}
}
