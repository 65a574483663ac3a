package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// bench is one run of the benchmark.
type bench struct {
	rounds  int
	only    *regexp.Regexp
	build   string // folder of the programs
	dir     string // of the vDisk and of everything else that is temporary
	verbose bool
	system  vmtest.System
	disk    string
}

func main() {
	status, inside, err := vmlab.Enclose()
	if inside {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx)
		stop()
		if err != nil {
			status = 1
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bootbench:", err)
	}
	os.Exit(status)
}

// errBounds tells that the run went well and a bound was missed.
var errBounds = errors.New("some bounds were missed")

func run(ctx context.Context) error {
	b := &bench{}
	only := flag.String("only", ".", "measure only the chains that match this regular expression; nothing is compared then")
	out := flag.String("json", "build/bench-boot.json", "where the rows go as JSON")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of each chain")
	flag.StringVar(&b.build, "programs", "build", "folder of spate, spated and spate-target")
	flag.BoolVar(&b.verbose, "v", false, "print the consoles of all machines")
	flag.Parse()
	if err := vmlab.Missing(); err != nil {
		return err
	}
	var err error
	if b.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if b.build, err = filepath.Abs(b.build); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "bootbench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	results, err := b.measure(ctx)
	if err != nil || len(results) < len(chains) {
		return err
	}
	rows := compare(results)
	printRows(os.Stdout, rows)
	if err := writeRows(*out, rows); err != nil {
		return err
	}
	for _, r := range rows {
		if !r.OK {
			return errBounds
		}
	}
	return nil
}

// measure runs all rounds of the wanted chains and returns what was measured, by chain.
func (b *bench) measure(ctx context.Context) (map[string][]sample, error) {
	var err error
	if b.system, err = vmtest.PrepareSystem(ctx); err != nil {
		return nil, err
	}
	results := map[string][]sample{}
	for round := range b.rounds {
		for _, c := range chains {
			if !b.only.MatchString(c.name) {
				continue
			}
			s, err := b.round(ctx, c)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", c.name, round+1, err)
			}
			results[c.name] = append(results[c.name], s)
			fmt.Printf("round %d, %s: %s\n", round+1, c.name, s)
		}
	}
	return results, nil
}

// roundPatience is how long both boots of a round may take.
const roundPatience = 5 * time.Minute

// round boots a machine of a chain twice: on an unlimited cable until the root's init runs, and at 100 Mbit/s until the
// system works.
func (b *bench) round(ctx context.Context, c chain) (s sample, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundPatience, fmt.Errorf("it took longer than %v", roundPatience))
	defer cancel()
	err = b.boot(ctx, c, 0, func(m *vmlab.Machine) error {
		l, err := m.MarkAt(ctx, "init ")
		s.Init = l.At.Seconds()
		return err
	})
	if err != nil {
		return s, err
	}
	return s, b.boot(ctx, c, slowLink, func(m *vmlab.Machine) error {
		first, _, err := m.AwaitLine(ctx, 0, c.begins)
		if err != nil {
			return err
		}
		before, err := m.Tap.Count()
		if err != nil {
			return err
		}
		root, err := m.MarkAt(ctx, "init ")
		if err != nil {
			return err
		}
		last, err := m.MarkAt(ctx, "multi-user ")
		if err != nil {
			return err
		}
		after, err := m.Tap.Count()
		s.SlowInit, s.System = root.At.Seconds(), (last.At - first.At).Seconds()
		s.Megabytes = float64(after.Minus(before).Bytes()) / 1e6
		return err
	})
}

// slowLink is the rate of the slow cable, in Mbit/s.
const slowLink = 100

// boot switches a machine on, in a network of its own, and off again after watch.
func (b *bench) boot(ctx context.Context, c chain, mbit int, watch func(*vmlab.Machine) error) (err error) {
	dir, err := os.MkdirTemp(b.dir, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	n, err := vmlab.NewNetwork(dir)
	defer func() { err = errors.Join(err, n.Close()) }()
	if err != nil {
		return err
	}
	servers, err := c.start(b, ctx, n)
	if servers != nil {
		defer func() { err = errors.Join(err, servers.Close()) }()
	}
	if err != nil {
		return err
	}
	tap, err := n.Cable()
	if err != nil {
		return err
	}
	if mbit > 0 {
		if err := tap.Rate(mbit); err != nil {
			return err
		}
	}
	hardware := vmlab.Hardware{}
	if c.disk != nil {
		hardware.Disk = c.disk(b)
	}
	m, err := n.BootOn(ctx, tap, hardware)
	if err != nil {
		return err
	}
	err = watch(m)
	if b.verbose {
		fmt.Println(m.All())
	}
	m.Kill()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, servers.Said())
	}
	return m.Trouble()
}
