package main

import (
	"context"

	"github.com/spate-project/spate/cmd/internal/keeper"
)

func newUpgrade() *command {
	return &command{
		name:  "upgrade",
		use:   "FILE",
		short: "Go on with a new spate-target, on a machine that runs from its vDisk",
		long: `Replaces the process that serves the disk of this machine by one that is run from
FILE, another spate-target. Reads and writes pause for some seconds and none is
lost. A program that does not work gives way to the one before it; the kernel's
log tells. The boot image is not changed: after a reboot its program runs again.

Exit status: 0 the new program is taken, 1 it is not.`,
		example: "  spate-target upgrade ./spate-target.new",
		wants:   "FILE, the new spate-target",
		run:     func(_ context.Context, _ streams, args []string) error { return keeper.Upgrade(args[0]) },
	}
}
