package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/farm"
)

func newTargetCommand() *cobra.Command {
	var n connection
	c := &cobra.Command{
		Use:   "target",
		Short: "List the targets that are served",
		Long: `A target is a machine that reads its disk from a server of the farm.
` + whereHelp,
	}
	n.flags(c)
	return group(c, newTargetListCommand(&n))
}

func newTargetListCommand(n *connection) *cobra.Command {
	var (
		on, vdisk string
		asJSON    bool
	)
	c := &cobra.Command{
		Use:   "list",
		Short: "List the targets that any live server serves",
		Long: `List the targets that any live server serves, with what they have measured themselves.

BOOT           from power-on, as far as it was seen, to the start of the system on the vDisk; --json has the stages
RETRIES        what the target had to ask for again: lost or late on the network, or put off by a busy server
ROUND TRIP     time to the server and back, smoothed
LONGEST PAUSE  the longest that a read of the target has waited in this session
MOVES          how often it has changed its server
` + whereHelp + `

Exit codes: 0 listed, 1 failed, 2 wrong usage, 4 no server could be asked.`,
		Example: `  spate target list
  spate target list --on lab-a
  spate target list --vdisk debian12 --json | jq '.targets | map(.sent_bytes) | add'`,
		Args:              exactArgs(0, "no arguments"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := n.farm()
			if err != nil {
				return err
			}
			list, err := s.Targets(c.Context())
			if err != nil {
				return report(err)
			}
			list.Targets = slices.DeleteFunc(list.Targets, func(t farm.TargetInfo) bool {
				return on != "" && t.Server != on || vdisk != "" && t.VDisk != vdisk
			})
			for _, name := range list.Missing {
				fmt.Fprintf(c.ErrOrStderr(), "warning: %s did not answer in time, its targets are not listed\n", name)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			printTargets(c.OutOrStdout(), list.Targets)
			return nil
		},
	}
	c.Flags().StringVar(&on, "on", "", "only those that this `SERVER` serves")
	c.Flags().StringVar(&vdisk, "vdisk", "", "only those that use this vDisk, `NAME`")
	_ = c.RegisterFlagCompletionFunc("on", n.completer(serverNames))
	_ = c.RegisterFlagCompletionFunc("vdisk", n.completer(vdiskNames))
	jsonFlag(c, &asJSON)
	return c
}

func printTargets(w io.Writer, all []farm.TargetInfo) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no targets")
		return
	}
	t := table{head: []string{
		"DEVICE", "LABEL", "COLLECTION", "SERVER", "VDISK", "ADDRESS", "SINCE", "BOOT", "SENT", "RETRIES", "ROUND TRIP", "LONGEST PAUSE", "MOVES",
	}}
	servers := map[string]bool{}
	for _, x := range all {
		servers[x.Server] = true
		trip := "-" // not measured yet
		if x.RTT > 0 {
			trip = short(x.RTT)
		}
		boot := ""
		if x.Boot != nil {
			boot = short(time.Duration(x.Boot.Total) * time.Millisecond)
		}
		t.add(x.Device, x.Label, x.Collection, x.Server, fmt.Sprintf("%s@%d", x.VDisk, x.Version), x.Addr.String(), long(x.Since), boot, amount(float64(x.Sent)),
			strconv.FormatUint(uint64(x.Lost)+uint64(x.Late)+uint64(x.Busy), 10), trip, short(x.Pause), strconv.FormatUint(uint64(x.Failovers), 10))
	}
	t.write(w)
	fmt.Fprintf(w, "\n%s on %s\n", count(len(all), "target"), count(len(servers), "server"))
}
