// Command spate-target attaches a vDisk of a Spate farm to this machine, reads
// one, or tells how an attached one is doing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spate-project/spate/cmd/internal/version"
)

func main() {
	early()
	if code, ok := keep(os.Args); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, streams{os.Stdout, os.Stderr}, os.Args[1:])
	stop()
	os.Exit(end(err, os.Stderr))
}

// end is the status that the program ends with, and says what err is unless that is a status itself.
func end(err error, messages io.Writer) int {
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintln(messages, "spate-target:", err)
	return 1
}

// exitCode ends the program with a status, without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// about is what this program is, for those who ask.
const about = `spate-target logs in to a farm of stream servers over UDP and reads the blocks of
its vDisk as they are needed. Any server that holds an identical replica can serve
it; when one stops or dies, it goes on with another.

In a boot image (spate bootimage build) it is /init: it brings a machine from its
kernel to the system on its vDisk, and stays to serve that disk. It reads what it
needs from the kernel command line, which the farm's boot script writes.`

// program is how this program names itself to servers.
func program() string { return "spate-target " + version.String() }
