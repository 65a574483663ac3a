package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/nbd"
	"github.com/spate-project/spate/cmd/internal/remote"
	"github.com/spate-project/spate/cmd/internal/system/lab"
)

const (
	diskSize = 256 << 20
	// cacheSize is small against the disk, so that nearly every read needs a server.
	cacheSize    = 4 << 20
	startTimeout = 60 * time.Second
	loadRate     = 16 << 20 // bytes a second of each reader that makes load
)

// world is everything that runs: servers, targets, readers.
type world struct {
	farm     *lab.Farm
	bridge   *lab.Bridge // nil on loopback
	targets  []*lab.Target
	attached []*agent.Attachment
	readers  []*reader
	sleeps   *oversleep
	disks    []*nbd.Client

	mu    sync.Mutex
	lines []string // guarded by mu: what targets said lately
}

// linesKept is how much of what targets of this process say is shown when something goes wrong.
const linesKept = 40

func (w *world) note(who string) func(string) {
	return func(s string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lines = append(w.lines, who+": "+s)
		w.lines = w.lines[max(0, len(w.lines)-linesKept):]
	}
}

// said is what was said since the last call.
func (w *world) said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := w.lines
	w.lines = nil
	return said
}

// build starts everything. Close ends it, also after an error.
func (w *world) build(ctx context.Context, o options) error {
	ctx, stop := context.WithTimeoutCause(ctx, startTimeout, errors.New("the farm takes too long to start"))
	defer stop()
	var err error
	if o.links {
		if w.bridge, err = lab.NewBridge(o.dir); err != nil {
			return err
		}
	}
	if w.farm, err = lab.NewFarm(lab.Options{Dir: o.dir, Bin: o.bin, Servers: o.servers, Bridge: w.bridge}); err != nil {
		return err
	}
	file, err := lab.MakeStore(ctx, filepath.Join(o.dir, "image"), lab.VDisk, diskSize)
	if err != nil {
		return err
	}
	if err := w.farm.Fill(file); err != nil {
		return err
	}
	if err := w.farm.Start(ctx); err != nil {
		return err
	}
	w.sleeps = watchOversleep()
	return errors.Join(w.attachHere(ctx, "target-1", true), w.attachHere(ctx, "target-2", false),
		w.attachProcess(ctx, "target-3", true), w.attachProcess(ctx, "target-4", false))
}

// attachHere attaches a target of this process.
func (w *world) attachHere(ctx context.Context, name string, probe bool) error {
	mac := fmt.Sprintf("02:00:00:00:00:%02x", len(w.attached)+1)
	a, err := agent.Attach(ctx, agent.Options{
		Where: name, Line: w.note(name), Remote: remote.Options{CacheBytes: cacheSize, DecodedBytes: cacheSize},
		Login: agent.Login{Servers: w.farm.Addresses(), FarmKey: w.farm.Key, VDisk: lab.VDisk, MAC: mac, Program: "chaos"},
	})
	if err != nil {
		return err
	}
	w.attached = append(w.attached, a)
	w.readers = append(w.readers, &reader{name: name, source: a.Disk, probe: probe, rate: loadRate, sleeps: w.sleeps})
	return nil
}

// attachProcess attaches a target that is a process of its own, and opens its disk over NBD.
func (w *world) attachProcess(ctx context.Context, name string, probe bool) error {
	t, err := w.farm.Attach(ctx, name, "--write-cache", "none", "--mac", fmt.Sprintf("02:00:00:00:01:%02x", len(w.targets)+1))
	if err != nil {
		return err
	}
	w.targets = append(w.targets, t)
	d, err := nbd.Open(ctx, "unix:"+t.Socket)
	if err != nil {
		return err
	}
	w.disks = append(w.disks, d)
	w.readers = append(w.readers, &reader{name: name, source: d, probe: probe, rate: loadRate, sleeps: w.sleeps})
	return nil
}

// read keeps all readers reading until ctx ends.
func (w *world) read(ctx context.Context, group *errgroup.Group) {
	for _, r := range w.readers {
		group.Go(func() error { return r.run(ctx) })
	}
}

// hangUp ends reads over NBD that are under way.
func (w *world) hangUp() {
	for _, d := range w.disks {
		d.Close()
	}
}

// close ends everything, targets first.
func (w *world) close() error {
	var all []error
	w.hangUp()
	for _, a := range w.attached {
		all = append(all, a.Close())
	}
	for _, t := range w.targets {
		all = append(all, t.End())
	}
	if w.farm != nil {
		all = append(all, w.farm.Close())
	}
	if w.bridge != nil {
		w.bridge.Close()
	}
	if w.sleeps != nil {
		w.sleeps.stop()
	}
	return errors.Join(all...)
}
