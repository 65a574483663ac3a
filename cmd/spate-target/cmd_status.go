package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/spate-project/spate/cmd/internal/agent"
)

// Exit codes of status.
const (
	statusWaiting exitCode = 2
	statusNone    exitCode = 3
)

func newStatus() *command {
	var asJSON, watch bool
	return &command{
		name:  "status",
		short: "Tell which server serves this machine, and how well",
		long: `Shows each vDisk that is attached to this machine: the server that serves it, since
when and why, traffic, retries, latency, the longest pause, the alternates.

Exit status: 0 every attachment is served, 2 one of them waits for a server,
3 nothing is attached, 1 something went wrong.`,
		example: "  spate-target status\n  spate-target status --watch\n  spate-target status --json | jq -r '.[].server'",
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&asJSON, "json", false, "print JSON, durations in nanoseconds")
			f.BoolVar(&watch, "watch", false, "show it again every second")
		},
		run: func(ctx context.Context, s streams, _ []string) error {
			for {
				code, err := status(s.out, asJSON, watch)
				if !watch || err != nil {
					return errors.Join(err, code)
				}
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(time.Second):
				}
			}
		},
	}
}

// clear moves the cursor home and clears the screen (ECMA-48).
const clear = "\x1b[H\x1b[2J"

func status(out io.Writer, asJSON, watch bool) (code error, err error) {
	all, err := agent.Find()
	if err != nil {
		return nil, err
	}
	if asJSON {
		if all == nil {
			all = []agent.Status{}
		}
		e := json.NewEncoder(out)
		if !watch {
			e.SetIndent("", "  ")
		}
		err = e.Encode(all)
	} else {
		if watch {
			fmt.Fprint(out, clear)
		}
		for i, s := range all {
			if len(all) > 1 {
				if i > 0 {
					fmt.Fprintln(out)
				}
				fmt.Fprintf(out, "%s (pid %d)\n", s.Attached, s.PID)
			}
			fmt.Fprint(out, s.Text())
		}
		if len(all) == 0 {
			fmt.Fprintln(out, "no vDisk is attached to this machine")
		}
	}
	return codeOf(all), err
}

func codeOf(all []agent.Status) error {
	if len(all) == 0 {
		return statusNone
	}
	for _, s := range all {
		if !s.Serving {
			return statusWaiting
		}
	}
	return nil
}
