package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/system/lab"
)

// kind is a way for a server to go.
type kind struct {
	name  string
	bound time.Duration // of the longest read pause
	links bool          // it takes links that can be cut
	act   func(c *cycle, ctx context.Context) error
}

// The kinds take turns; each has variants that take turns, too.
var kinds = []kind{
	{name: "stop", bound: 10 * time.Millisecond, act: (*cycle).stop},
	{name: "kill", bound: 100 * time.Millisecond, act: (*cycle).kill},
	{name: "freeze", bound: 300 * time.Millisecond, act: (*cycle).freeze},
	{name: "cut", bound: 300 * time.Millisecond, act: (*cycle).cut, links: true},
}

const (
	// away is how long a server is silent or dead: longer than a failover takes by far.
	away = time.Second
	// after is what is measured beyond the return of a server.
	after = 200 * time.Millisecond
	// stuckAfter is for how long one read may last, or the farm may take to be whole again, before it counts as hung.
	stuckAfter = 15 * time.Second
	look       = 5 * time.Millisecond
)

// cycle is one disturbance.
type cycle struct {
	*world
	turn   int // of this kind, from 0
	victim *lab.Server
	how    string // which variant it was
}

// run disturbs the server that serves the first target and returns the longest pause of any probe.
func (c *cycle) run(ctx context.Context, k kind) (pause, error) {
	ctx, stop := context.WithTimeoutCause(ctx, 4*stuckAfter, errors.New("a cycle does not end"))
	defer stop()
	if err := c.settle(ctx); err != nil {
		return pause{}, err
	}
	for _, r := range c.readers {
		r.take()
	}
	c.said()
	if err := k.act(c, ctx); err != nil {
		return pause{}, fmt.Errorf("%s %s: %w", c.how, c.victim.Name, err)
	}
	pauseFor(ctx, after)
	if err := c.flowing(ctx); err != nil {
		return pause{}, err
	}
	var worst pause
	for _, r := range c.readers {
		if p := r.take(); r.probe {
			worst.gross, worst.net = max(worst.gross, p.gross), max(worst.net, p.net)
		}
	}
	if now := c.attached[0].Status().Server; now == c.victim.Name {
		return worst, fmt.Errorf("%s %s: the target is still there", c.how, now)
	}
	return worst, nil
}

// settle waits until each target is served and knows a server that could take over, and picks the victim.
func (c *cycle) settle(ctx context.Context) error {
	deadline := time.Now().Add(stuckAfter)
	for {
		restless, err := c.restless(ctx)
		if err != nil {
			return err
		}
		if restless == "" {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the farm does not settle: %s", restless)
		}
		pauseFor(ctx, 20*look)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	c.victim = c.farm.Server(c.attached[0].Status().Server)
	return nil
}

// restless says what keeps the farm from being ready for the next cycle.
func (c *cycle) restless(ctx context.Context) (string, error) {
	var all []agent.Status
	for _, a := range c.attached {
		all = append(all, a.Status())
	}
	for _, t := range c.targets {
		s, err := t.Status(ctx)
		if err != nil {
			return "", err
		}
		all = append(all, s)
	}
	for _, s := range all {
		if !s.Serving {
			return s.Attached + " is not served", nil
		}
		serving := func(a agent.Alternate) bool { return a.State == "serving" }
		if n := len(c.farm.Servers) - 1; len(s.Alternates) < n || !slices.ContainsFunc(s.Alternates, serving) {
			return fmt.Sprintf("%s is served by %s and knows as alternates: %+v", s.Attached, s.Server, s.Alternates), nil
		}
	}
	return "", nil
}

// flowing waits until each reader has ended a read that began now.
func (c *cycle) flowing(ctx context.Context) error {
	goal := make([]int64, len(c.readers))
	for i, r := range c.readers {
		goal[i] = r.ended() + 2
	}
	for i, r := range c.readers {
		for r.ended() < goal[i] {
			if began := r.began.Load(); began > 0 && time.Since(time.Unix(0, began)) > stuckAfter {
				return fmt.Errorf("%s: a read hangs", r.name)
			}
			pauseFor(ctx, look)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// stop takes the stream service away by the console, or ends the server by SIGTERM, in turn.
func (c *cycle) stop(ctx context.Context) error {
	if c.turn%2 == 0 {
		c.how = "stop-stream"
		if out, err := c.victim.Spate(ctx, "server", "stop-stream", c.victim.Name); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		if err := c.flowing(ctx); err != nil {
			return err
		}
		_, err := c.victim.Spate(ctx, "server", "start-stream", c.victim.Name)
		return err
	}
	c.how = "SIGTERM"
	if err := c.victim.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	wait, stop := context.WithTimeoutCause(ctx, stuckAfter, errors.New("it does not end after SIGTERM"))
	defer stop()
	status, err := c.victim.Wait(wait)
	if err == nil && status != 0 {
		err = fmt.Errorf("it ended with status %d", status)
	}
	if err != nil {
		return err
	}
	if err := c.flowing(ctx); err != nil {
		return err
	}
	return c.restart(ctx)
}

func (c *cycle) kill(ctx context.Context) error {
	c.how = "SIGKILL"
	c.victim.Kill()
	pauseFor(ctx, away/2)
	if err := c.flowing(ctx); err != nil {
		return err
	}
	return c.restart(ctx)
}

func (c *cycle) restart(ctx context.Context) error {
	if err := c.victim.Start(); err != nil {
		return err
	}
	_, err := c.victim.Await(ctx, "ready")
	return err
}

func (c *cycle) freeze(ctx context.Context) error {
	c.how = "SIGSTOP"
	return c.silence(ctx, func() error { return c.victim.Signal(syscall.SIGSTOP) }, func() error { return c.victim.Signal(syscall.SIGCONT) })
}

// cut takes the carrier from the server's link, or makes the link drop everything, in turn.
func (c *cycle) cut(ctx context.Context) error {
	if c.turn%2 == 0 {
		c.how = "dropped packets"
		return c.silence(ctx, c.victim.Link.Drop, c.victim.Link.Pass)
	}
	c.how = "link down"
	return c.silence(ctx, c.victim.Link.Down, c.victim.Link.Up)
}

// silence makes a server silent for a while.
func (c *cycle) silence(ctx context.Context, begin, end func() error) error {
	if err := begin(); err != nil {
		return err
	}
	pauseFor(ctx, away)
	err := c.flowing(ctx)
	return errors.Join(err, end())
}

// story is what is worth knowing when a cycle has failed.
func (w *world) story() string {
	var b strings.Builder
	for _, a := range w.attached {
		s := a.Status()
		b.WriteString(s.Text() + "\n")
	}
	b.WriteString(strings.Join(w.said(), "\n") + "\n")
	for _, t := range w.targets {
		fmt.Fprintf(&b, "%s:\n%s%s", t.Name, t.Out, t.Log)
	}
	return b.String()
}
