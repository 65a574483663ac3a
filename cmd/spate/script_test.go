package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/admin"
	"github.com/spate-project/spate/cmd/internal/admin/admintest"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

var exitCodes = regexp.MustCompile(`Exit codes: 0 .*, 2 wrong usage`)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"spate": main})
}

// The scripts of testdata/cli run the program against a farm that they describe, over a real socket.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "../../testdata/cli", UpdateScripts: *update, RequireExplicitExec: true,
		// A race detector that waits a second at each end would cost more than all that these scripts do.
		Setup: func(e *testscript.Env) error { e.Setenv("GORACE", "atexit_sleep_ms=0"); return nil },
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"farm": farmCommand, "exits": exitsCommand},
	})
}

var farms atomic.Int32

// farmCommand is "farm FILE": a server of the farm that the file describes answers from now on, where
// SPATE_ADMIN says.
func farmCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: farm FILE")
	}
	f := &admintest.Farm{}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), f))
	path := ts.MkAbs(fmt.Sprintf("%s.%d", args[0], farms.Add(1))) // a script may start a farm twice
	s, err := admin.NewServer(admin.Options{Service: f.Service(), Socket: path})
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	ts.Defer(func() { stop(); ts.Check(<-ended) })
	ts.Setenv(envServer, path)
}

// exitsCommand is "exits CODE PROGRAM ARGS...": like exec, for a certain exit code.
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// Each command that does something says in its help how it ends and shows an example.
func TestHelpIsComplete(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, below := range c.Commands() {
			visit(below)
		}
		if c.HasSubCommands() {
			return
		}
		if !exitCodes.MatchString(c.Long) || c.Example == "" || c.Short == "" || c.Flags().Lookup("json") == nil {
			t.Errorf("%s: exit codes, an example or --json are missing", c.CommandPath())
		}
	}
	visit(newRootCommand())
}
