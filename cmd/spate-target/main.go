// Command spate-target attaches a vDisk of a Spate farm to this machine, reads
// one, or tells how an attached one is doing.
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

func main() {
	early()
	if code, ok := keep(os.Args); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		stop()
		os.Exit(int(code)) // stop has been called
	default:
		fmt.Fprintln(os.Stderr, "spate-target:", err)
		stop()
		os.Exit(1)
	}
}

// exitCode ends the program with a status, without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "spate-target",
		Short: "The target's end of a Spate farm",
		Long: `spate-target logs in to a farm of stream servers over UDP and reads the blocks of
its vDisk as they are needed. Any server that holds an identical replica can serve
it; when one stops or dies, it goes on with another.

In a boot image (spate bootimage build) it is /init: it brings a machine from its
kernel to the system on its vDisk, and stays to serve that disk. It reads what it
needs from the kernel command line, which the farm's boot script writes.`,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newAttach(), newRead(), newStatus(), newUpgrade())
	return root
}

// program is how this program names itself to servers.
func program() string { return "spate-target " + version.String() }
