package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/bootsvc/probe"
)

// Exit statuses of pxe-check beside 0 and 1.
const (
	exitNothing  = 2
	exitConflict = 3
)

// exitError ends the program with a status of its own, after everything was said.
type exitError struct{ status int }

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// tell prints an error, unless all was said before, and gives the status to end with.
func tell(out io.Writer, err error) int {
	if e, ok := errors.AsType[exitError](err); ok {
		return e.status
	}
	fmt.Fprintln(out, "spated:", err)
	return 1
}

// pxeCheck is what the flags of pxe-check say.
type pxeCheck struct {
	iface string
	json  bool
	wait  time.Duration
}

func newPXECheck() *cobra.Command {
	var o pxeCheck
	c := &cobra.Command{
		Use:   "pxe-check --interface IF",
		Short: "Show who answers machines that boot from the network, and who wins",
		Long: `pxe-check asks on a network as BIOS, UEFI, UEFI HTTP and iPXE would, prints who answers
with what, and says for each of them who wins and why. It is for the administrator whose
network has a DHCP or PXE service already, or whose machines get no answer.

It takes no address, changes nothing, and can be run at any time, on a server or on any other
Linux machine in the machines' network; it needs root. It cannot see servers that answer
registered machines only.

Exit status: 0 somebody gives a boot file and nobody contradicts; 1 an error; 2 nobody gives
a boot file; 3 servers contradict one another.`,
		Example: `  spated pxe-check --interface eth0
  spated pxe-check --interface eth0.20 --wait 15s   # behind relay agents, or a very slow server
  spated pxe-check --interface br0 --json`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("takes no arguments, got %q; see %s --help", args, cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVar(&o.iface, "interface", "", "network `INTERFACE` that the machines are connected to")
	f.BoolVar(&o.json, "json", false, "print JSON, with the same exit status")
	f.DurationVar(&o.wait, "wait", 5*time.Second, "`DURATION` to wait for answers; a server that answers slowly is waited for longer")
	return c
}

func (o pxeCheck) run(ctx context.Context, out io.Writer) error {
	switch {
	case o.iface == "":
		return fmt.Errorf("which network? name its interface with --interface%s", interfaces())
	case o.wait < 100*time.Millisecond || o.wait > time.Minute:
		return fmt.Errorf("--wait %v is not between 100ms and 1m", o.wait)
	}
	offers, err := probe.Ask(ctx, probe.Options{Interface: o.iface, Wait: o.wait, Kinds: probe.Kinds})
	if err != nil {
		if _, ok := errors.AsType[*net.OpError](err); ok && strings.Contains(err.Error(), "no such network interface") {
			return fmt.Errorf("%w%s", err, interfaces())
		}
		return err
	}
	r := probe.Judge(probe.Kinds, offers)
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = printReport(out, o, r)
	}
	if err != nil {
		return err
	}
	return exitOf(r.Result)
}

// exitOf is how the program ends.
func exitOf(r probe.Result) error {
	switch r {
	case probe.Nothing:
		return exitError{exitNothing}
	case probe.Conflict:
		return exitError{exitConflict}
	default:
		return nil
	}
}

// interfaces lists those that could be meant; empty when they cannot be told.
func interfaces() string {
	all, err := net.Interfaces()
	if err != nil {
		return ""
	}
	var names []string
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 && len(i.HardwareAddr) == 6 {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; here are " + strings.Join(names, ", ")
}

func printReport(out io.Writer, o pxeCheck, r probe.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "asked on %s, waited %v\n", o.iface, o.wait)
	advice := ""
	for _, v := range r.Verdicts {
		fmt.Fprintf(&b, "\n%s\n", v.Name)
		for _, offer := range v.Offers {
			fmt.Fprintf(&b, "    %s\n", offer)
		}
		fmt.Fprintf(&b, "    => %s.\n", v.Text)
		if v.Advice != "" && v.Advice != advice { // the same for each kind, most often
			fmt.Fprintf(&b, "       %s\n", v.Advice)
			advice = v.Advice
		}
	}
	for _, remark := range r.Remarks {
		fmt.Fprintf(&b, "\n%s\n", remark)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
