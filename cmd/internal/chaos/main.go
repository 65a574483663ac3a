package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

type options struct {
	cycles   int
	servers  int
	only     string
	ci, json bool
	bin, dir string
	inside   bool // we are the process in the network namespace
	links    bool
}

func main() {
	var o options
	flag.IntVar(&o.cycles, "cycles", 12, "how many cycles, of all kinds in turn")
	flag.IntVar(&o.servers, "servers", 2, "how many servers, 2 to 8")
	flag.StringVar(&o.only, "only", "", "kinds of cycle, separated by commas: stop, kill, freeze, cut; empty: all")
	flag.BoolVar(&o.ci, "ci", os.Getenv("CI") == "true", "fail when a pause is longer than 10 times its figure, or links cannot be cut")
	flag.BoolVar(&o.json, "json", false, "write the report as JSON")
	flag.StringVar(&o.bin, "bin", "", "folder of the programs; empty: they are built")
	flag.BoolVar(&o.inside, "inside", false, "used by the program itself: the network is one's own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := o.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// run makes the temporary folder, and a network namespace where possible.
func (o options) run(ctx context.Context) error {
	if o.servers < 2 || o.servers > 8 {
		return errors.New("-servers: 2 to 8")
	}
	missing := lab.NeedLinks()
	if missing == nil && !o.inside {
		return enclosed(ctx)
	}
	o.links = missing == nil
	if !o.links {
		if o.ci && slices.ContainsFunc(kinds, func(k kind) bool { return k.links && o.wants(k) }) {
			return fmt.Errorf("links cannot be cut, and CI=true allows nothing to be left out: %w", missing)
		}
		fmt.Fprintf(os.Stderr, "links are not cut: %v\n", missing)
	}
	var err error
	if o.dir, err = os.MkdirTemp("", "chaos"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if o.bin == "" {
		o.bin = filepath.Join(o.dir, "bin")
		if err := lab.Programs(ctx, o.bin); err != nil {
			return err
		}
	}
	w := &world{}
	err = w.build(ctx, o)
	if err == nil {
		err = o.chaos(ctx, w)
	}
	return errors.Join(err, w.close())
}

// enclosed runs this program again in a network namespace of its own, which ends with it.
func enclosed(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"-inside"}, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = lab.Isolated()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err = cmd.Run()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() > 0 {
		os.Exit(status.ExitCode()) // it has said why
	}
	return err
}

// wants tells whether a kind was asked for.
func (o options) wants(k kind) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), k.name)
}

// chosen are the kinds that are run.
func (o options) chosen() ([]kind, error) {
	var list []kind
	for _, k := range kinds {
		if o.wants(k) && (o.links || !k.links) {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("-only %s: nothing is left to do", o.only)
	}
	return list, nil
}

// show tells how a cycle went, and of one that took too long what the targets said.
func (o options) show(n int, c *cycle, p pause, bound time.Duration) {
	fmt.Printf("%s %3d of %d  %-15s %s  longest read %6.1f ms, net %6.1f ms\n", time.Now().Format("15:04:05"), n+1, o.cycles, c.how,
		c.victim.Name, milliseconds(p.gross), milliseconds(p.net))
	if p.net > bound {
		for _, s := range c.said() {
			fmt.Println("    " + s)
		}
	}
}

// chaos runs the cycles while all read, and reports.
func (o options) chaos(ctx context.Context, w *world) error {
	list, err := o.chosen()
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	group, reading := errgroup.WithContext(reading)
	w.read(reading, group)
	pauses := make([][]pause, len(list))
	var failed error
	for n := 0; n < o.cycles && failed == nil && ctx.Err() == nil; n++ {
		i := n % len(list)
		c := &cycle{world: w, turn: n / len(list)}
		p, err := c.run(ctx, list[i])
		if err != nil && ctx.Err() == nil {
			failed = fmt.Errorf("cycle %d: %w\n%s", n+1, err, w.story())
			break
		}
		pauses[i] = append(pauses[i], p)
		if !o.json {
			o.show(n, c, p, list[i].bound)
		}
	}
	stop()
	w.hangUp()
	err = group.Wait()
	r := report{Servers: o.servers, Links: o.links}
	for i, k := range list {
		r.add(k, pauses[i])
	}
	r.count(w.readers)
	return errors.Join(failed, err, r.write(io.Writer(os.Stdout), o.json), r.verdict(o.ci))
}
