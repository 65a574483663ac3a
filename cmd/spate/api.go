package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/admin"
	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/vdisk"
)

// The environment that stands in for flags.
const (
	envServer = "SPATE_ADMIN"
	envToken  = "SPATE_TOKEN_FILE"
	envCA     = "SPATE_CA"
)

// whereHelp stands in the help of each command that asks a server.
const whereHelp = `
Any server of the farm can be asked; it answers for all. Without --admin and SPATE_ADMIN it is the one of this user or
of this machine, behind $XDG_RUNTIME_DIR/spate/admin.sock, ~/.local/state/spate/admin.sock, /run/spate/admin.sock or
/var/lib/spate/admin.sock.`

// connection says which server is asked.
type connection struct {
	where string
	o     admin.DialOptions
}

// flags adds the flags of a connection to a command and to those below it.
func (n *connection) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&n.where, "admin", os.Getenv(envServer), "server to ask: its `SOCKET`, the folder that holds it, or https://HOST[:PORT] (or set "+envServer+")")
	f.StringVar(&n.o.TokenFile, "token-file", os.Getenv(envToken), "`FILE` with the token, for https (or set "+envToken+")")
	f.StringVar(&n.o.CAFile, "ca", os.Getenv(envCA), "`FILE` with the certificate of the server or of its CA, for https (or set "+envCA+")")
	for _, name := range []string{"admin", "token-file", "ca"} {
		f.Lookup(name).DefValue = "" // the environment's value is no default of the program
	}
}

// farm is the farm to ask. Nothing is connected yet.
func (n *connection) farm() (farm.Service, error) {
	s, err := admin.Dial(n.where, n.o)
	if err != nil {
		return nil, usageError("%w", err)
	}
	return s, nil
}

// report gives an error of the farm its exit code.
func report(err error) error {
	if errors.As(err, new(*admin.ConnectError)) {
		return &exitError{exitUnreachable, err}
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

// completeWithin is how long a shell waits for names.
const completeWithin = time.Second

// completer completes names that a farm knows. It is silent when no server answers: the shell has no place for
// an error.
func (n *connection) completer(names func(context.Context, farm.Service) []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		s, err := n.farm()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, stop := context.WithTimeout(c.Context(), completeWithin)
		defer stop()
		var fit []string
		for _, name := range names(ctx, s) {
			if strings.HasPrefix(name, typed) {
				fit = append(fit, name)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}

// once completes the first argument only.
func once(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(c, args, typed)
	}
}

func serverNames(ctx context.Context, s farm.Service) []string {
	list, err := s.Servers(ctx)
	if err != nil {
		return nil
	}
	var all []string
	for _, x := range list.Servers {
		all = append(all, cobra.CompletionWithDesc(x.Name, x.State))
	}
	return all
}

func deviceNames(ctx context.Context, s farm.Service) []string {
	list, err := s.Targets(ctx)
	if err != nil {
		return nil
	}
	var all []string
	for _, x := range list.Targets {
		all = append(all, cobra.CompletionWithDesc(x.Device, strings.TrimSpace(x.Label+" served by "+x.Server)))
	}
	return all
}

func vdiskNames(ctx context.Context, s farm.Service) []string {
	list, err := s.VDisks(ctx)
	if err != nil {
		return nil
	}
	var all []string
	for _, x := range list.VDisks {
		all = append(all, x.Name)
	}
	return all
}

// completeStored completes the names of the vDisks that lie in the folder of --store.
func completeStored(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	dir, err := c.Flags().GetString("store")
	if err != nil || dir == "" {
		return nil, cobra.ShellCompDirectiveDefault // a file
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var fit []string
	for _, e := range entries {
		name, _, err := vdisk.ParseFileName(e.Name())
		if err == nil && strings.HasPrefix(name, typed) && !slices.Contains(fit, name) {
			fit = append(fit, name)
		}
	}
	return fit, cobra.ShellCompDirectiveNoFileComp
}
