package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// fuzzTarget is one native fuzz function and the import path of its package.
type fuzzTarget struct{ pkg, name string }

// runFuzz finds every fuzz target of the packages and runs each for a while. The seeds themselves run in
// every ordinary pass; this looks a little further each time.
func runFuzz(ctx context.Context, out io.Writer, strict bool, args []string) error {
	flags := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	each := flags.Duration("time", 10*time.Second, "time for each fuzz target")
	only := flags.String("only", ".", "run targets that match this regular expression")
	if err := flags.Parse(args); err != nil {
		return err
	}
	packages := flags.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	targets, err := listFuzz(ctx, packages, *only)
	if err != nil {
		return err
	}
	if strict && len(targets) == 0 {
		return errors.New("no fuzz target found")
	}
	var errs []error
	for _, t := range targets {
		begin := time.Now()
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$",
			"-fuzztime", each.String(), "-parallel", "2", t.pkg)
		if text, err := cmd.CombinedOutput(); err != nil && !onlyTimeEnded(string(text)) {
			fmt.Fprintf(out, "%s\n", text)
			errs = append(errs, fmt.Errorf("%s %s: %w", t.pkg, t.name, err))
			continue
		}
		fmt.Fprintf(out, "fuzzed %s %s %.1fs\n", t.pkg, t.name, time.Since(begin).Seconds())
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", len(targets)-len(errs), len(errs))
	return errors.Join(errs...)
}

// onlyTimeEnded tells whether a fuzz target failed for no other reason than that its time was over: up to Go 1.26 the end of
// -fuzztime now and then comes out as an error of the target (go.dev/issue/75804). An input that fails is named, and then
// there is more to read than this one error.
func onlyTimeEnded(text string) bool {
	ended := false
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case line == context.DeadlineExceeded.Error():
			ended = true
		case line == "", line == "FAIL", line == "exit status 1",
			strings.HasPrefix(line, "fuzz: elapsed: "), strings.HasPrefix(line, "--- FAIL: Fuzz"), strings.HasPrefix(line, "FAIL\t"):
		default:
			return false
		}
	}
	return ended
}

// listFuzz asks the go command for the fuzz targets, so that build tags and platforms count.
func listFuzz(ctx context.Context, packages []string, only string) ([]fuzzTarget, error) {
	var (
		targets []fuzzTarget
		names   []string
	)
	err := stream(ctx, append([]string{"test", "-list", "^Fuzz"}, packages...), func(line []byte) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) >= 2 && fields[0] == "ok":
			for _, n := range names {
				targets = append(targets, fuzzTarget{fields[1], n})
			}
			names = nil
		}
	})
	if err != nil {
		return nil, err
	}
	return matching(targets, only)
}

// matching keeps the targets whose name matches the regular expression.
func matching(targets []fuzzTarget, only string) ([]fuzzTarget, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	return slices.DeleteFunc(targets, func(t fuzzTarget) bool { return !pattern.MatchString(t.name) }), nil
}
