package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/keeper"
)

func newUpgrade() *cobra.Command {
	return &cobra.Command{
		Use:   "upgrade FILE",
		Short: "Go on with a new spate-target, on a machine that runs from its vDisk",
		Long: `Replaces the process that serves the disk of this machine by one that is run from
FILE, another spate-target. Reads and writes pause for some seconds and none is
lost. A program that does not work gives way to the one before it; the kernel's
log tells. The boot image is not changed: after a reboot its program runs again.

Exit status: 0 the new program is taken, 1 it is not.`,
		Example: "  spate-target upgrade ./spate-target.new",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("wants FILE, the new spate-target, got %d arguments; see spate-target upgrade --help", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return keeper.Upgrade(args[0])
		},
	}
}
