package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

const (
	// serversPatience is how long servers may take to be ready, bootPatience the machine from power-on until somebody may log in:
	// some four times what it takes alone on a small computer.
	serversPatience = 30 * time.Second
	bootPatience    = 2 * time.Minute
	// lastLook is how long the last questions to the servers may take, lookAgain the time between two of them.
	lastLook  = 3 * time.Second
	lookAgain = 300 * time.Millisecond
)

// demo is a show that goes on.
type demo struct {
	screen  *screen
	record  *record
	farm    *vmlab.Farm
	machine *vmlab.Machine
}

// show runs servers and machine in this namespace, with the vDisk in a file, until the time is over or ctx ends.
func show(ctx context.Context, o options, disk string) (err error) {
	live := onTerminal()
	d := &demo{record: newRecord(), screen: &screen{out: os.Stdout, live: live, since: time.Now()}}
	d.screen.line = d.record.line
	dir, err := os.MkdirTemp("", "run-vm") // short, for the sockets in it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	network, err := vmlab.NewNetwork(dir)
	defer func() { err = errors.Join(err, network.Close()) }()
	if err != nil {
		return err
	}
	d.screen.note("two servers with boot services start, each in a network namespace of its own")
	d.farm, err = network.Farm(vmlab.FarmOptions{Bin: o.bin, Disk: disk})
	defer func() { err = errors.Join(err, d.farm.Close()) }()
	if err != nil {
		return err
	}
	err = within(ctx, serversPatience, d.farm.Start)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted before the machine was switched on")
	case err != nil:
		return err
	}
	for _, s := range d.farm.Servers {
		d.screen.note("%s: %s, process %d", s.Name, s.Link.Addr, s.PID())
	}
	err = patiently("waiting for other virtual machines on this computer", func() (err error) {
		d.screen.since = time.Now()
		d.machine, err = network.Boot(ctx, vmlab.Hardware{Name: "machine", Reboot: true, Screen: d.screen})
		return err
	})
	if err != nil {
		return err
	}
	d.screen.note("a machine is switched on: BIOS, a network card, no disk")
	return d.watch(ctx, o, live)
}

// within runs f with a context that ends after a while.
func within(ctx context.Context, d time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("it took longer than %v", d))
	defer cancel()
	return f(ctx)
}

// watch watches the machine until the end, and says how it was.
func (d *demo) watch(ctx context.Context, o options, live bool) error {
	if live {
		restore, err := keysTo(d.machine.Type)
		if err != nil {
			return err
		}
		defer restore()
		d.screen.note("keys go to the machine; Ctrl-C ends everything")
	}
	group, ctx := errgroup.WithContext(ctx)
	ctx, end := context.WithCancel(ctx)
	defer end()
	group.Go(func() error { // ends with the machine, at the latest when end is called
		defer end()
		if err := d.machine.AwaitEnd(ctx); err != nil {
			return over(ctx, err)
		}
		select {
		case <-d.record.up:
			return nil
		default:
			return fmt.Errorf("the machine ended before it was up; the end of its console:\n%s", d.machine.Tail())
		}
	})
	group.Go(func() error {
		defer end()
		if err := d.boots(ctx); err != nil {
			return err
		}
		if o.length > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, o.length)
			defer cancel()
		}
		return d.trouble(ctx, o.every)
	})
	return d.conclude(group.Wait())
}

// boots waits until the machine is up.
func (d *demo) boots(ctx context.Context) error {
	select {
	case <-d.record.up:
		return nil
	case <-time.After(bootPatience):
		return fmt.Errorf("the machine was not up %v after power-on; the servers have said:\n%s", bootPatience, d.farm.Said())
	case <-ctx.Done():
		return nil
	}
}

// conclude ends everything, prints the summary, and returns what was wrong.
func (d *demo) conclude(err error) error {
	until := d.machine.Uptime()
	if d.screen.live || d.machine.Ended() {
		until = 0
	}
	d.lastLook()
	d.screen.note("the end")
	d.screen.end()
	d.machine.Kill()
	for _, s := range d.farm.Servers { // nobody is left for whom they would end in order
		s.Kill()
	}
	trouble := 0
	if t := d.machine.Trouble(); t != nil {
		trouble = strings.Count(t.Error(), "\n")
		err = errors.Join(err, t)
	}
	fmt.Print("\n", d.record.summary(trouble))
	return errors.Join(err, d.record.verdict(until))
}

// lastLook asks the servers once more how the machine is, until they know of all that has happened.
func (d *demo) lastLook() {
	ctx, cancel := context.WithTimeout(context.Background(), lastLook)
	defer cancel()
	for _, s := range d.farm.Servers {
		_ = s.Signal(syscall.SIGCONT) // it may be frozen
	}
	for {
		if _, err := d.serving(ctx, d.farm.Servers...); err != nil || !d.record.behind() || !sleepUntil(ctx, time.Now().Add(lookAgain)) {
			return
		}
	}
}
