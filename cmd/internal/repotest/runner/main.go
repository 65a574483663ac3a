package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// errUsage is returned for a command line that names no mode of this program.
var errUsage = errors.New("usage: runner test|fuzz|tagged ... (see the package documentation)")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	strict := os.Getenv("CI") == "true"
	switch args[0] {
	case "test":
		return runTests(ctx, out, strict, args[1:])
	case "fuzz":
		return runFuzz(ctx, out, strict, args[1:])
	case "tagged":
		return runTagged(ctx, out, strict, args[1:])
	default:
		return errUsage
	}
}

// runTests runs "go test -json" with args and reports its events while they come.
func runTests(ctx context.Context, out io.Writer, strict bool, args []string) error {
	r := newReport(out, strict)
	err := stream(ctx, append([]string{"test", "-json"}, args...), r.line)
	return r.close(err)
}

// stream runs the go command and hands each line of its standard output to line.
func stream(ctx context.Context, args []string, line func([]byte)) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	scanner := bufio.NewScanner(pipe)
	scanner.Buffer(make([]byte, 64<<10), maxLineBytes)
	for scanner.Scan() {
		line(scanner.Bytes())
	}
	// A line that is too long must not leave the child blocked on a full pipe.
	if _, err := io.Copy(io.Discard, pipe); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	if err := errors.Join(cmd.Wait(), scanner.Err()); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// maxLineBytes bounds one line of test output; test2json cuts longer ones itself.
const maxLineBytes = 4 << 20
