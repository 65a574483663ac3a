// Command spated is a server of a Spate farm: it streams the vDisks of its
// stores to targets over UDP.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/version"
)

func main() {
	if err := newRoot().ExecuteContext(context.Background()); err != nil {
		os.Exit(tell(os.Stderr, err))
	}
}

func newRoot() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "spated --config FILE | --store DIR",
		Short: "Stream vDisks to many machines",
		Long: `spated is a server of a Spate farm. With --config it is one of the servers that the
farm file names. With --store it needs no configuration: it serves every vDisk in a
folder, on loopback unless --listen says otherwise, and with --join it makes a farm
with another spated of that kind.

On SIGTERM it asks its targets to log in to other servers, serves them until they
have, and ends; a second SIGTERM ends it at once. On SIGHUP it reads the farm file
again; a file with mistakes changes nothing.

Exit status: 0 ended by a signal, or --check found nothing; 1 an error.`,
		Example: `  spated --store /srv/vdisks
  spated --store /srv/vdisks --listen 192.0.2.11
  spated --store /srv/vdisks --listen 192.0.2.11 --boot proxy
  spated --config /etc/spate/farm.yaml --check
  spated --config /etc/spate/farm.yaml --server lab-a`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("takes no arguments, got %q; see %s --help", args, cmd.CommandPath())
			}
			return nil
		},
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out, o.messages = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return run(cmd.Context(), o)
		},
	}
	c.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
	c.AddCommand(newPXECheck())
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "farm `FILE`, the same on each server")
	f.StringVar(&o.name, "server", "", "`NAME` of this server in the farm (default: the host name)")
	f.BoolVar(&o.check, "check", false, "check the farm file, tell every mistake, and end; works on any machine")
	f.StringVar(&o.store, "store", "", "serve every vDisk in this `DIR`, without a farm file")
	f.StringVar(&o.listen, "listen", "127.0.0.1", "with --store: `ADDRESS[:PORT]` of the stream service")
	f.StringVar(&o.peer, "peer", "", "with --store: `ADDRESS[:PORT]` for other servers (default: the one of --listen, next port)")
	f.StringSliceVar(&o.join, "join", nil, "with --store: `HOST:PORT` of another server's --peer")
	f.StringVar(&o.state, "state", "", "`DIR` for keys and what must outlive the program (default: /var/lib/spate, or the user's own)")
	f.StringVar(&o.admin, "admin-socket", "", "`PATH` of the admin API's unix socket (default: the one that the farm file names, /run/spate/admin.sock where it names none; with --store: admin.sock in --state)")
	f.StringVar(&o.boot, "boot", "", "with --store: boot machines from the vDisks that carry a kernel; `HOW` is proxy, beside the network's DHCP server, or http")
	f.BoolVar(&o.forceDHCP, "force-dhcp", false, "with boot.dhcp: server: give out addresses although another DHCP server answers on the network")
	f.DurationVar(&o.scrubEvery, "scrub-every", 24*time.Hour, "read all vDisks again each `DURATION` and fence what is damaged; 0 never")
	f.IntVar(&o.scrubRate, "scrub-rate", 20, "`MB` a second that a scrub reads at most; 0 as fast as it goes")
	f.StringVar(&o.logLevel, "log-level", "info", "lowest `LEVEL` of log lines: debug, info, warn, error")
	f.StringVar(&o.logFormat, "log-format", "auto", "`FORMAT` of log lines: console, json, auto")
	return c
}
