// Command demo is what `make run` shows: two servers with one vDisk, a target
// that reads it for ever and checks each byte, and a live view of how the target
// fares while the person before it stops, kills and freezes the servers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/agent"
)

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "build", "folder of the programs")
	flag.StringVar(&o.dir, "dir", "build/run", "folder for everything that is made")
	flag.DurationVar(&o.length, "for", 0, "how long to run; 0 on a terminal: until interrupted, elsewhere: 10 s")
	flag.Parse()
	_, err := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS)
	o.live = err == nil && o.length == 0
	if !o.live && o.length == 0 {
		o.length = 10 * time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

type options struct {
	bin, dir string
	length   time.Duration
	live     bool // the screen is drawn anew each second, until interrupted
}

var errOver = errors.New("the time is over")

func run(ctx context.Context, o options) error {
	f, err := makeFarm(ctx, o)
	if err != nil {
		return err
	}
	defer f.stop()
	if !o.live {
		// What ends by itself leaves nothing behind, no folder of sockets either. With a person before it
		// `spate-target status` shall find the target where it looks.
		if err := os.Setenv(agent.FolderVariable, o.dir); err != nil {
			return err
		}
	}
	if err := f.start(); err != nil {
		return err
	}
	v := &view{farm: f, live: o.live}
	a, err := agent.Attach(ctx, agent.Options{Where: "demo", Line: v.note, Login: agent.Login{
		Servers: f.addresses(), FarmKey: f.key, VDisk: vdiskName, MAC: "02:00:00:00:00:01", Program: "spate demo",
	}})
	if err != nil {
		return err
	}
	defer a.Close()
	v.attachment = a
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.length, errOver)
		defer cancel()
	}
	group, work := errgroup.WithContext(ctx)
	group.Go(func() error { return readForEver(work, a, &v.checked) })
	group.Go(func() error { return a.ServeStatus(work) })
	group.Go(func() error { v.show(work); return nil })
	err = group.Wait()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	v.last()
	if v.checked.wrong.Load() > 0 {
		return errors.Join(err, errors.New("wrong bytes were read"))
	}
	return err
}
