// Program spate is the console of a farm on the command line, and the tool that brings disk images into
// stores.
//
// Commands that work on files (vdisk import, build, info, verify, adopt, vdisk list with --store, bootimage, keygen) need no
// server; all others ask the admin API of any server. Tables go to standard output, progress and warnings to
// standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/version"
)

// Exit codes, printed in the help of the commands that use them. 3 is an answer that is no: damage was found, a
// stop or a device is refused.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitDamaged     = 3
	exitRefused     = 3
	exitUnreachable = 4
)

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake on the command line.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// flagError says which flag is wrong; nil when err is.
func flagError(flag string, err error) error {
	if err == nil {
		return nil
	}
	return usageError("%s: %w", flag, err)
}

// together makes err, which tells all of these, wrong usage when each of them is.
func together(all []error, err error) error {
	for _, one := range all {
		if e, ok := errors.AsType[*exitError](one); !ok || e.code != exitUsage {
			return err
		}
	}
	return &exitError{exitUsage, err}
}

// group makes a command that only holds others: it shows its help, or says that there is no such command, which
// cobra does at the top only.
func group(c *cobra.Command, below ...*cobra.Command) *cobra.Command {
	c.AddCommand(below...)
	c.Args = cobra.ArbitraryArgs
	c.DisableFlagsInUseLine = true
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		hint := fmt.Sprintf("see %s --help", c.CommandPath())
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("did you mean %s?", near[0])
		}
		return usageError("unknown command %q for %s; %s", args[0], c.CommandPath(), hint)
	}
	return c
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "spate",
		Short: "Stream one disk image to many machines",
		Long: `The console of a farm on the command line.

vdisk import, build, info, verify, adopt, vdisk list --store, bootimage and keygen work on files of this machine. Everything else asks
the admin API of any server of the farm: the one that --admin or SPATE_ADMIN names, or one on this machine.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the answer is no (damage found, refused), 4 no server could be asked.`,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%w; see %s --help", err, c.CommandPath())
	})
	return group(root, newServerCommand(), newTargetCommand(), newVdiskCommand(), newBootimageCommand(), newExplainCommand(), newKeygenCommand())
}

// exitCode is the code that an error ends the program with.
func exitCode(err error) int {
	if own := (*exitError)(nil); errors.As(err, &own) {
		return own.code
	}
	return exitFailed
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "spate:", err)
	os.Exit(exitCode(err))
}
