package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/blockdev"
)

func newAttach() *command {
	var login agent.Login
	var socket, device, cache string
	return &command{
		name:  "attach",
		use:   "--nbd-socket PATH|--nbd-device DEVICE --server HOST --farm-key KEY [--vdisk NAME]",
		short: "Attach a vDisk as an NBD disk on a unix socket, or as a block device",
		long: `Logs in, waits for a server if there is none, and shows the vDisk over NBD on a
unix socket, for QEMU, nbdcopy, nbdfuse and others, or as a block device of the
kernel (which needs root, and the module nbd). It runs until it is interrupted,
and says in one line each what happens to it. Unmount a block device before you
interrupt it: it goes away then.

Writes go into memory and are gone afterwards; every target sees the vDisk as it
was sealed. When the write cache is full, writes wait, and that is said.

Exit status: 0 ended by a signal, 1 it could not be attached or failed.`,
		example: `  spate-target attach --server 192.0.2.11 --server 192.0.2.12 --farm-key spate1… \
      --vdisk debian12 --nbd-socket /run/spate/debian12.nbd --write-cache ram:2G
  spate-target attach --server 192.0.2.11 --farm-key spate1… --vdisk debian12 --nbd-device auto
  qemu-system-x86_64 -drive file=nbd:unix:/run/spate/debian12.nbd,if=virtio,format=raw …`,
		flags: func(f *pflag.FlagSet) {
			login.Register(f)
			f.StringVar(&socket, "nbd-socket", "", "`PATH` of the unix socket")
			f.StringVar(&device, "nbd-device", "", "`DEVICE` of the kernel's NBD driver, /dev/nbd0 or auto for any that is free")
			f.StringVar(&cache, "write-cache", "ram:1G", "`WHERE` writes go: ram:SIZE, or none for a read-only disk")
		},
		run: func(ctx context.Context, s streams, _ []string) error {
			return attach(ctx, s.out, login, socket, device, cache)
		},
	}
}

// parseCache reads ram:SIZE or none; 0 stands for none.
func parseCache(s string) (int64, error) {
	if s == "none" {
		return 0, nil
	}
	text, ok := strings.CutPrefix(s, "ram:")
	digits := strings.TrimRight(text, "kKmMgGtTiB")
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
	unit := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(text[len(digits):], "B"), "i"))
	by, known := shift[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || !known || n <= 0 || n > math.MaxInt64>>by {
		return 0, fmt.Errorf("--write-cache %q: write ram:SIZE, such as ram:512M or ram:2G, or none", s)
	}
	return n << by, nil
}

func attach(ctx context.Context, out io.Writer, login agent.Login, socket, device, cache string) error {
	bytes, err := parseCache(cache)
	var door door
	where := socket
	switch {
	case socket == "" && device == "":
		err = errors.Join(err, errors.New("say where the disk is shown: --nbd-socket PATH or --nbd-device DEVICE"))
	case socket != "" && device != "":
		err = errors.Join(err, errors.New("--nbd-socket and --nbd-device exclude one another"))
	case device != "":
		index, bad := blockdev.KernelIndex(device)
		if err, where = errors.Join(err, bad), device; bad == nil {
			door = kernelDoor{index}
		}
	}
	if err != nil {
		return err
	}
	if door == nil {
		// The socket comes first: what cannot be shown need not be logged in to.
		l, err := blockdev.Listen(socket)
		if err != nil {
			return err
		}
		defer l.Close()
		door = socketDoor{l}
	}
	say := sayer(out)
	login.Program = program()
	a, err := agent.Start(ctx, agent.Options{Login: login, Where: where, Line: say})
	if err != nil {
		return err
	}
	defer a.Close()
	group, run := errgroup.WithContext(ctx)
	group.Go(func() error { return a.ServeStatus(run) }) // also while there is no server yet
	group.Go(func() error { a.Track(run); return nil })
	group.Go(func() error {
		if err := a.Wait(run); err != nil {
			return err
		}
		return show(run, a, door, blockdev.Options{Name: login.VDisk, Note: say}, bytes, say)
	})
	return quiet(ctx, group.Wait())
}

// door is where a disk is shown until ctx ends.
type door interface {
	serve(ctx context.Context, d blockdev.Device, o blockdev.Options, say func(string)) error
}

// show shows the vDisk, with a write cache of so many bytes or read-only with 0, until ctx ends.
func show(ctx context.Context, a *agent.Attachment, door door, o blockdev.Options, cache int64, say func(string)) error {
	device := a.Device()
	if cache > 0 {
		c, err := blockdev.NewWriteCache(device, cache, func(n blockdev.Notice) { say(noticeText(n)) })
		if err != nil {
			return err
		}
		defer c.Close()
		a.SetWriteCache(c)
		device = c
	}
	return door.serve(ctx, device, o, say)
}

// socketDoor shows a disk over NBD on a unix socket.
type socketDoor struct{ l net.Listener }

func (s socketDoor) serve(ctx context.Context, d blockdev.Device, o blockdev.Options, say func(string)) error {
	server, err := blockdev.NewServer(d, o)
	if err != nil {
		return err
	}
	say("attached: nbd+unix:///?socket=" + s.l.Addr().String())
	return server.Serve(ctx, s.l)
}

// kernelDoor shows a disk as a device of the kernel.
type kernelDoor struct{ index uint32 }

func (k kernelDoor) serve(ctx context.Context, d blockdev.Device, o blockdev.Options, say func(string)) error {
	n, err := blockdev.AttachKernel(d, blockdev.KernelOptions{Index: k.index, Options: o})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	// Ended by Disconnect, while it answers what the kernel still has to say; waited for below.
	go func() { ended <- n.Serve(context.WithoutCancel(ctx)) }()
	if err := n.Tune(); err != nil {
		say(err.Error())
	}
	say("attached: " + n.Path())
	select {
	case err = <-ended:
		return errors.Join(err, n.Disconnect())
	case <-ctx.Done():
		if err := n.Disconnect(); err != nil {
			return err
		}
		if err := <-ended; !errors.Is(err, blockdev.ErrDisconnected) {
			return err
		}
		return nil
	}
}

// quiet takes an end by a signal for what it is: no error.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// interrupted calls an end by a signal by its name.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

// sayer writes lines, one at a time.
func sayer(out io.Writer) func(string) {
	var mu sync.Mutex
	return func(s string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(out, s)
	}
}
