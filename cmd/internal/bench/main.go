package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// bench is one run of the benchmark.
type bench struct {
	dir    string // of images, stores, traces
	build  string // of the programs
	rounds int
	report *report
}

// groups are the parts of a run, in order.
var groups = []struct {
	name, what string
	run        func(*bench, context.Context) error
}{
	{"loopback", "whole vDisks over loopback, against plain and sealed peers; server CPU", (*bench).loopback},
	{"random", "random reads of 4 KiB through an NBD socket, first touch and cached", (*bench).random},
	{"link", "whole vDisks over a link of 1 Gbit/s; bytes on the wire", (*bench).link},
	{"boot", "replay of a recorded boot over 1 Gbit/s with 0.5 ms round trip", (*bench).boot},
}

func main() {
	reexec() // the reference server and the relay are this program again
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// errBounds tells that the run went well and a bound was missed.
var errBounds = errors.New("some bounds were missed")

func run(ctx context.Context) error {
	b := &bench{}
	only := flag.String("only", ".", "run the groups that match this regular expression")
	list := flag.Bool("list", false, "list the groups and end")
	out := flag.String("json", "build/bench.json", "where the rows go as JSON")
	lax := flag.Bool("lax", false, "end well even when a bound is missed")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds that are counted")
	flag.StringVar(&b.dir, "dir", "build/bench", "folder for images and stores; kept")
	flag.StringVar(&b.build, "programs", "build", "folder of spate, spated and spate-target")
	flag.Parse()
	if *list {
		for _, g := range groups {
			fmt.Printf("%-10s %s\n", g.name, g.what)
		}
		return nil
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if err := b.prepare(); err != nil {
		return err
	}
	b.report = newReport(os.Stdout)
	for _, g := range groups {
		if !pattern.MatchString(g.name) {
			continue
		}
		fmt.Printf("\n== %s: %s\n", g.name, g.what)
		if err := g.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	b.report.table()
	if err := b.report.write(*out); err != nil {
		return err
	}
	if !b.report.good() && !*lax {
		return errBounds
	}
	return nil
}

// tools are the programs that the benchmark runs, with the Debian packages they come in.
var tools = [][2]string{
	{"nbdkit", "nbdkit"}, {"nbd-server", "nbd-server"}, {"qemu-nbd", "qemu-utils"}, {"nbdcopy", "libnbd-bin"},
	{"mke2fs", "e2fsprogs"}, {"ip", "iproute2"}, {"tc", "iproute2"}, {"ethtool", "ethtool"},
}

// prepare makes paths absolute and checks that everything is there.
func (b *bench) prepare() error {
	var errs []error
	for _, t := range tools {
		if _, err := exec.LookPath(t[0]); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing: apt-get install %s", t[0], t[1]))
		}
	}
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("not root: the benchmark makes network namespaces"))
	}
	errs = append(errs, vmtest.Missing())
	for _, p := range []*string{&b.dir, &b.build} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	for _, p := range []string{"spate", "spated", "spate-target"} {
		if _, err := os.Stat(filepath.Join(b.build, p)); err != nil {
			errs = append(errs, fmt.Errorf("%w; build the programs first: make build", err))
		}
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
