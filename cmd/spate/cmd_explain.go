package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/farm"
)

func newExplainCommand() *cobra.Command {
	var (
		n      connection
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "explain DEVICE",
		Short: "Say what a device would boot and which server would serve it, and why",
		Long: `Say which vDisk and version a device would get if it logged in now, which server would serve it, and for each other
server why not. Where servers run boot services, say also what the device would boot if it were switched on, and what
each server last did for it. DEVICE is a name of the farm file, the label of a target that is served, or any MAC address.
` + whereHelp + `

Exit codes: 0 a server would serve it, 1 failed, 2 wrong usage, 3 it would be refused, 4 no server could be asked.`,
		Example: `  spate explain pc-07
  spate explain 52:54:00:12:34:56 --json`,
		Args:              exactArgs(1, "DEVICE, a name or a MAC address"),
		ValidArgsFunction: once(n.completer(deviceNames)),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := n.farm()
			if err != nil {
				return err
			}
			e, err := s.Explain(c.Context(), args[0])
			if err != nil {
				return report(err)
			}
			for _, name := range e.BootMissing {
				fmt.Fprintf(c.ErrOrStderr(), "warning: %s did not answer in time, what it did for the device is not told\n", name)
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), e)
			} else {
				printExplanation(c.OutOrStdout(), e)
			}
			if err == nil && e.Refusal != "" {
				err = &exitError{exitRefused, errors.New(args[0] + " would be refused")}
			}
			return err
		},
	}
	n.flags(c)
	jsonFlag(c, &asJSON)
	return c
}

func printExplanation(w io.Writer, e farm.Explanation) {
	t := table{head: []string{"", ""}}
	name := e.MAC.String()
	if e.Device != "" && e.Device != name {
		name = e.Device + ", " + name
	}
	row := func(what, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-11s %s\n", what, text)
		}
	}
	row("device", name)
	if e.Collection != "" && e.Login != "" {
		row("collection", fmt.Sprintf("%s, log-in %s", e.Collection, e.Login))
	}
	row("vdisk", e.VDisk)
	row("because", e.Why)
	row("served by", e.Serving)
	row("refused", e.Refusal)
	t.head = []string{"CHOICE", "SERVER", "LOAD", "REASON"}
	for _, s := range e.Servers {
		choice := "no"
		switch {
		case s.Rank == 0:
			choice = "this one"
		case s.Rank > 0:
			choice = fmt.Sprintf("alternate %d", s.Rank)
		}
		t.add(choice, s.Server, fmt.Sprintf("%.2f", s.Load), s.Reason)
	}
	if len(t.rows) > 0 {
		fmt.Fprintln(w)
		t.write(w)
	}
	printBoot(w, e)
}
