package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// movedEvery is the time between two lines in a log about targets that move.
const movedEvery = 2 * time.Second

func newStopStreamCommand(n *connection) *cobra.Command {
	var (
		r      farm.StopRequest
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "stop-stream NAME",
		Short: "Move the targets of a server to others and stop its stream service",
		Long: `Stop the stream service of a server: it takes no new targets, asks each of its own to move to another server, goes
on serving until they have gone, and tells how it went. The program goes on running; start-stream undoes it.

It refuses, and does nothing, when a target would have nowhere to go. With --force such targets are cut off at the
deadline; they wait then until a server that can serve them is back.

When this command is interrupted, the targets are still asked to move, and none is cut off.
` + whereHelp + `

Exit codes: 0 all targets moved, 1 failed, or targets were left at the deadline, 2 wrong usage, 3 refused and
nothing changed, 4 no server could be asked.`,
		Example: `  spate server stop-stream lab-a
  spate server stop-stream lab-a --deadline 2m
  spate server stop-stream lab-a --force && ssh lab-a systemctl reboot`,
		Args:              exactArgs(1, "NAME, the server whose stream service is stopped"),
		ValidArgsFunction: once(n.completer(serverNames)),
		RunE: func(c *cobra.Command, args []string) error {
			r.Server = args[0]
			if r.Deadline < 0 || c.Flags().Changed("deadline") && r.Deadline == 0 {
				return usageError("--deadline %v: it must be longer than that", r.Deadline)
			}
			s, err := n.farm()
			if err != nil {
				return err
			}
			return runStop(c, s, r, asJSON)
		},
	}
	c.Flags().BoolVar(&r.Force, "force", false, "stop it even when targets have nowhere to go")
	c.Flags().DurationVar(&r.Deadline, "deadline", 0, "how long to wait for the targets (default: what the farm file says, or 30s)")
	_ = c.RegisterFlagCompletionFunc("deadline", cobra.NoFileCompletions)
	jsonFlag(c, &asJSON)
	return c
}

// stopView shows a stop to whoever waits for it.
type stopView struct {
	status
	begun bool
}

// show takes each step.
func (v *stopView) show(p farm.StopProgress) {
	if !v.begun {
		v.begun = true
		v.say(beginning(p))
	}
	if p.Moved > 0 && p.Left > 0 && v.due() {
		v.write(fmt.Sprintf("%d of %d moved", p.Moved, p.Total))
	}
}

// beginning says what the stop will do to whom.
func beginning(p farm.StopProgress) string {
	switch stranded := len(p.Stranded); {
	case p.Total == 0:
		return p.Server + " serves no targets"
	case stranded == 0:
		return fmt.Sprintf("%s serves %s; each has another server to go to", p.Server, count(p.Total, "target"))
	case stranded == 1:
		return fmt.Sprintf("%s serves %s; 1 has nowhere to go and will be cut off at the deadline: %s", p.Server, count(p.Total, "target"), p.Stranded[0])
	default:
		return fmt.Sprintf("%s serves %s; %d have nowhere to go and will be cut off at the deadline: %s",
			p.Server, count(p.Total, "target"), stranded, fewNames(p.Stranded))
	}
}

// fewNames lists names, at most a few of them.
func fewNames(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func runStop(c *cobra.Command, s farm.Service, r farm.StopRequest, asJSON bool) error {
	v := stopView{status: newStatus(c.ErrOrStderr(), movedEvery)}
	p, err := s.StopStream(c.Context(), r, v.show)
	v.end()
	known := err == nil || farm.CodeOf(err) == farm.ErrorUnfinished && p.Total > 0
	switch {
	case asJSON && (known || len(p.Stranded) > 0):
		if err := printJSON(c.OutOrStdout(), p); err != nil {
			return err
		}
	case known:
		silent := ""
		if p.Silent > 0 {
			silent = fmt.Sprintf(", %d had gone without a word", p.Silent)
		}
		fmt.Fprintf(c.OutOrStdout(), "%d moved, longest pause %s, %d left%s\n", p.Moved, short(p.LongestPause), p.Left, silent)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: %s takes no new targets and its own are still asked to move; spate server list shows how far that is, "+
			"spate server start-stream %s takes it back", r.Server, r.Server)
	case farm.CodeOf(err) == farm.ErrorConflict:
		if len(p.Stranded) > 0 {
			err = fmt.Errorf("%w; why a target has nowhere to go is said by: spate explain %s", err, p.Stranded[0])
		}
		return &exitError{exitRefused, err}
	case err == nil && p.Left > 0:
		return fmt.Errorf("%s left on %s at the deadline", count(p.Left, "target"), r.Server)
	case err != nil:
		return report(err)
	}
	return nil
}
