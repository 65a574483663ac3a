// Program spate is the console of a farm on the command line, and the tool that brings disk images into
// stores.
//
// Commands that work on files (vdisk import, and vdisk list, info, verify, adopt with --store) need no server.
// Tables go to standard output, progress and warnings to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, printed in the help of the commands that use them.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitDamaged = 3
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

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "spate",
		Short:         "Stream one disk image to many machines",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%w; see %s --help", err, c.CommandPath())
	})
	root.AddCommand(newVdiskCommand())
	return root
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	code := exitFailed
	if own := (*exitError)(nil); errors.As(err, &own) {
		code = own.code
	}
	fmt.Fprintln(os.Stderr, "spate:", err)
	os.Exit(code)
}
