package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of "go test -json" (see "go doc test2json").
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds

	ImportPath string // instead of Package, on the lines of the build
}

// report collects the events of one run of go test and writes what a person wants to read.
type report struct {
	out    io.Writer
	strict bool

	passed  int
	failed  int
	skipped []string

	output map[[2]string][]string // (package, test) -> lines seen so far
	build  map[string][]string    // import path -> compiler output
	broken []string               // packages that failed, without or with a failed test
}

func newReport(out io.Writer, strict bool) *report {
	return &report{
		out: out, strict: strict,
		output: map[[2]string][]string{}, build: map[string][]string{},
	}
}

// line takes one line of the go command's standard output.
func (r *report) line(b []byte) {
	var e event
	if len(b) == 0 || b[0] != '{' || json.Unmarshal(b, &e) != nil {
		fmt.Fprintf(r.out, "%s\n", b) // not an event: the go command speaks for itself
		return
	}
	switch e.Action {
	case "build-output":
		r.build[e.ImportPath] = append(r.build[e.ImportPath], e.Output)
	case "build-fail":
		fmt.Fprintf(r.out, "%s", strings.Join(r.build[e.ImportPath], ""))
	case "output":
		key := [2]string{e.Package, e.Test}
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnd(e)
		} else {
			r.testEnd(e)
		}
	}
}

// testEnd counts a finished test, top-level or sub-test, and prints the output of a failed one.
func (r *report) testEnd(e event) {
	key := [2]string{e.Package, e.Test}
	lines := r.output[key]
	delete(r.output, key)
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(lines)))
	case "fail":
		r.failed++
		fmt.Fprintf(r.out, "%s", strings.Join(lines, ""))
	}
}

// packageEnd prints the closing line of a package, and of a failed one all that its own output says
// (a panic or a data race that no test claims ends there).
func (r *report) packageEnd(e event) {
	if e.Action == "fail" {
		r.broken = append(r.broken, e.Package)
		for _, key := range slices.SortedFunc(maps.Keys(r.output), compareKeys) {
			if key[0] == e.Package && key[1] != "" { // tests that never ended
				fmt.Fprintf(r.out, "%s", strings.Join(r.output[key], ""))
			}
		}
	}
	for _, text := range r.output[[2]string{e.Package, ""}] {
		closing := strings.HasPrefix(text, "ok ") || strings.HasPrefix(text, "FAIL\t")
		if closing || e.Action == "fail" && strings.TrimSpace(text) != "FAIL" {
			fmt.Fprint(r.out, text)
		}
	}
	for key := range r.output {
		if key[0] == e.Package {
			delete(r.output, key)
		}
	}
}

func compareKeys(a, b [2]string) int { return slices.Compare(a[:], b[:]) }

// reason is the message of a skipped test, without the frame that the testing package puts around it.
func reason(lines []string) string {
	var words []string
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "=== ") || strings.HasPrefix(l, "--- ") {
			continue
		}
		if _, message, ok := strings.Cut(l, ".go:"); ok {
			if _, after, ok := strings.Cut(message, ": "); ok {
				l = after
			}
		}
		words = append(words, l)
	}
	return strings.Join(words, " ")
}

// close ends the report. commandErr is what the go command ended with; it counts also when every event
// looked well.
func (r *report) close(commandErr error) error {
	var errs []error
	if len(r.skipped) > 0 {
		fmt.Fprintln(r.out, "skipped:")
		slices.Sort(r.skipped)
		for _, s := range r.skipped {
			fmt.Fprintf(r.out, "  %s\n", s)
		}
	}
	if r.strict && len(r.skipped) > 0 {
		errs = append(errs, fmt.Errorf("%d skipped, and CI=true allows no skipped test", len(r.skipped)))
	}
	if r.strict && r.passed+r.failed == 0 {
		errs = append(errs, errors.New("no test ran"))
	}
	if len(r.broken) > 0 {
		slices.Sort(r.broken)
		errs = append(errs, fmt.Errorf("failed: %s", strings.Join(slices.Compact(r.broken), ", ")))
	} else if commandErr != nil {
		errs = append(errs, commandErr)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	return errors.Join(errs...)
}
