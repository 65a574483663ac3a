package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/remote"
)

func newRead() *command {
	var login agent.Login
	var o readOptions
	return &command{
		name:  "read",
		use:   "--out FILE|--discard --server HOST --farm-key KEY [--vdisk NAME]",
		short: "Read a whole vDisk, verified",
		long: `Reads the vDisk from its first byte to its last, checks each block against its hash,
and writes exactly its bytes to a file, or throws them away (to measure, or to check that
a farm can serve every block).

A file keeps holes where the vDisk is zero. It appears whole or not at all: what was
written is removed again when reading fails, and by the next read when it was killed.

Exit status: 0 everything was read and verified, 1 not.`,
		example: "  spate-target read --server lab-a --farm-key spate1… --vdisk debian12 --out debian12.raw\n" +
			"  spate-target read --server lab-a --farm-key spate1… --vdisk debian12@3 --discard",
		flags: func(f *pflag.FlagSet) {
			login.Register(f)
			f.StringVar(&o.out, "out", "", "`FILE` to write")
			f.BoolVar(&o.discard, "discard", false, "throw the bytes away")
			f.DurationVar(&o.forever, "repeat-for", 0, "read again and again for this `DURATION`, or for ever with a negative one")
		},
		run: func(ctx context.Context, s streams, _ []string) error {
			login.Program = program()
			o.messages = s.messages
			return read(ctx, s.out, login, o)
		},
	}
}

type readOptions struct {
	out      string
	discard  bool
	forever  time.Duration
	messages io.Writer
}

func (o readOptions) check() error {
	switch {
	case o.out == "" && !o.discard:
		return errors.New("say where the bytes go: --out FILE or --discard")
	case o.out != "" && o.discard:
		return errors.New("--out and --discard exclude one another")
	case o.out != "" && o.forever != 0:
		return errors.New("--repeat-for goes with --discard")
	}
	return nil
}

func read(ctx context.Context, out io.Writer, login agent.Login, o readOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	// The file comes first: what cannot be kept need not be read.
	var file *outFile
	if !o.discard {
		var err error
		if file, err = newOutFile(o.out); err != nil {
			return err
		}
		defer file.abandon()
	}
	a, err := agent.Start(ctx, agent.Options{Login: login, Where: "read", Line: sayer(o.messages)})
	if err != nil {
		return err
	}
	defer a.Close()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	// Ended by stop; they only tell how it goes.
	go a.ServeStatus(watch) //nolint:errcheck // a machine without a place for the socket can still read
	go a.Track(watch)
	if err := a.Wait(ctx); err != nil {
		return interrupted(ctx, err)
	}
	begin := time.Now()
	for {
		start := time.Now()
		err = readOnce(ctx, a, file, o)
		if err == nil && file != nil {
			err = file.finish(a.Disk.Size())
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", a.Disk.Disk().Name, interrupted(ctx, err))
		}
		n := a.Disk.Size()
		fmt.Fprintf(out, "%s: %d bytes read and verified in %.2f s, %.0f MB/s\n", a.Disk.Disk().Name, n,
			time.Since(start).Seconds(), float64(n)/1e6/time.Since(start).Seconds())
		if o.forever >= 0 && time.Since(begin) >= o.forever || ctx.Err() != nil {
			return nil
		}
	}
}

// readOnce reads the disk into a file, or throws it away where that is nil.
func readOnce(ctx context.Context, a *agent.Attachment, file *outFile, o readOptions) error {
	p := newProgress(o.messages, a.Disk.Size())
	defer p.end()
	if file == nil {
		return a.Disk.Stream(ctx, 0, a.Disk.Size(), remote.Sink{
			Data: func(b []byte, _ int64) error { p.add(int64(len(b))); return nil },
			Hole: func(_, n int64) error { p.add(n); return nil },
		})
	}
	return a.Disk.Stream(ctx, 0, a.Disk.Size(), remote.Sink{
		Data: func(b []byte, _ int64) error {
			p.add(int64(len(b)))
			_, err := file.Write(b)
			return err
		},
		Hole: func(_, n int64) error {
			p.add(n)
			return file.skip(n)
		},
	})
}
