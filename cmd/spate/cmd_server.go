package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/farm"
)

func newServerCommand() *cobra.Command {
	var n connection
	c := &cobra.Command{
		Use:   "server",
		Short: "List the servers, stop and start their stream services",
		Long: `A server streams vDisks to targets. Its stream service can be stopped and started while the program runs: targets
move to other servers then, and the operating systems on them do not notice.
` + whereHelp,
	}
	n.flags(c)
	return group(c, newServerListCommand(&n), newStopStreamCommand(&n), newStartStreamCommand(&n))
}

func newServerListCommand(n *connection) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the servers of the farm and what they carry",
		Long: `List the servers of the farm, as the server that is asked sees them.

STATE    serving; leaving: its targets are moving away; stopped: the program runs, the stream service does not;
         silent: it was heard and is not heard now; never heard: not since the server that is asked started
TARGETS  20+3 are 20 at its last report and 3 that were sent there since
LOAD     targets a unit of power, with the wait for its disks and its sending rate counted in; the server with
         the lowest load gets the next target
QUEUE    how long a read waits for the disks
HEARD    time since its last report
` + whereHelp + `

Exit codes: 0 listed, 1 failed, 2 wrong usage, 4 no server could be asked.`,
		Example: `  spate server list
  spate server list --admin https://lab-b --token-file ~/.config/spate/token --ca lab.pem
  spate server list --json | jq -r '.servers[] | select(.state != "serving") | .name'`,
		Args:              exactArgs(0, "no arguments"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := n.farm()
			if err != nil {
				return err
			}
			list, err := s.Servers(c.Context())
			if err != nil {
				return report(err)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			printServers(c.OutOrStdout(), list)
			return nil
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func printServers(w io.Writer, list farm.ServerList) {
	t := table{head: []string{"SERVER", "STATE", "TARGETS", "LOAD", "QUEUE", "EGRESS", "SITE", "ZONE", "TIER", "ADDRESS", "HEARD", "PROGRAM"}}
	for _, s := range list.Servers {
		row := []string{s.Name, s.State, strconv.Itoa(s.Targets), fmt.Sprintf("%.2f", s.Load), short(s.QueueDelay), amount(s.Egress) + "/s"}
		switch {
		case s.Heard == 0 && s.State == "never heard": // nothing is known of what it carries
			row = []string{s.Name, s.State, "-", "-", "-", "-"}
		case s.Assigned > 0:
			row[2] += fmt.Sprintf("+%d", s.Assigned)
		}
		row = append(row, s.Site, s.Zone, unless(s.Tier == 0, strconv.Itoa(s.Tier)), unless(!s.Stream.IsValid(), s.Stream.String()),
			unless(s.Heard == 0, short(s.Heard)), s.Program)
		t.add(row...)
	}
	fmt.Fprintf(w, "farm %s, as %s sees it\n\n", list.Farm, list.Answered)
	t.write(w)
	for _, s := range list.Servers {
		switch {
		case s.State == "silent":
			fmt.Fprintf(w, "\n%s has not been heard for %s. Is the machine up, is spated running there, do its peer ports (TCP and UDP) pass?\n",
				s.Name, long(s.Heard))
		case s.State == "never heard":
			fmt.Fprintf(w, "\n%s has not been heard since %s started. Is spated running there, with this farm's key, do its peer ports (TCP and UDP) pass?\n",
				s.Name, list.Answered)
		case s.Differs:
			fmt.Fprintf(w, "\n%s has another farm file than %s. Bring the same file to both and send SIGHUP to spated there (systemctl reload spated).\n", s.Name, list.Answered)
		}
	}
}

func newStartStreamCommand(n *connection) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "start-stream NAME",
		Short: "Let a server log targets in again",
		Long: `Start the stream service of a server that stop-stream has stopped. Targets that log in from then on may get this
server; those that others serve stay where they are. When the stop is still under way it is taken back: targets
that have not moved yet stay.
` + whereHelp + `

Exit codes: 0 started, 1 failed, 2 wrong usage, 4 no server could be asked.`,
		Example:           `  spate server start-stream lab-a`,
		Args:              exactArgs(1, "NAME, the server whose stream service is started"),
		ValidArgsFunction: once(n.completer(serverNames)),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := n.farm()
			if err != nil {
				return err
			}
			if err := s.StartStream(c.Context(), args[0]); err != nil {
				return report(err)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					Server string           `json:"server"`
					State  farm.StreamState `json:"state"`
				}{args[0], farm.StreamServing})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s logs targets in again\n", args[0])
			return nil
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
