package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/spate-project/spate/cmd/internal/version"
)

// runLine runs spate-target with these arguments and returns what it printed as an answer, what it said otherwise, and the
// status it ended with.
func runLine(t *testing.T, args ...string) (text, said string, code int) {
	t.Helper()
	var out, messages bytes.Buffer
	code = end(run(t.Context(), streams{&out, &messages}, args), &messages)
	return out.String(), messages.String(), code
}

// Whoever asks a command for help, in any of the usual ways, reads what it does, each of its flags, and a line to copy.
func TestHelpOfACommandNamesItsFlagsAndAnExample(t *testing.T) {
	for _, c := range commands() {
		text, said, code := runLine(t, c.name, "--help")
		if code != 0 || said != "" {
			t.Errorf("%s --help: exit code %d, %s", c.name, code, said)
		}
		line := "spate-target " + c.name
		for _, want := range []string{c.long + "\n\nUsage:\n  " + line + " ", " [flags]\n\nExamples:\n  " + line, "\n\nFlags:\n  "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s --help does not hold %q:\n%s", c.name, want, text)
			}
		}
		f, _ := newFlags(c.name)
		if c.flags != nil {
			c.flags(f)
		}
		f.VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(text, " --"+flag.Name+" ") || flag.Usage == "" {
				t.Errorf("%s --help does not tell of --%s:\n%s", c.name, flag.Name, text)
			}
		})
		for _, other := range [][]string{{c.name, "-h"}, {c.name, "too", "many", "--help"}, {"help", c.name}} {
			if same, _, code := runLine(t, other...); same != text || code != 0 {
				t.Errorf("%q: exit code %d, not what %s --help prints:\n%s", other, code, c.name, same)
			}
		}
	}
}

// The program's help lists what it can do; so does the program when it is told nothing.
func TestHelpOfTheProgramListsItsCommands(t *testing.T) {
	text, _, _ := runLine(t)
	for _, c := range commands() {
		if !strings.Contains(text, "\n  "+c.name+" ") || !strings.Contains(text, " "+c.short+"\n") {
			t.Errorf("%s is not in the list:\n%s", c.name, text)
		}
	}
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}, {"help", "help"}, {"--version", "--help"}, {"--help", "status"}} {
		if same, said, code := runLine(t, args...); same != text || said != "" || code != 0 {
			t.Errorf("%q: exit code %d, %s\n%s", args, code, said, same)
		}
	}
	for _, flag := range []string{"-v", "--version"} {
		if text, said, code := runLine(t, flag); text != "spate-target version "+version.String()+"\n" || said != "" || code != 0 {
			t.Errorf("%s: exit code %d, %q %q", flag, code, text, said)
		}
	}
}

// A mistake on the command line ends with 1 and one sentence: what is wrong, and what to do.
func TestAMistakeEndsWithASentenceThatSaysWhatToDo(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"bogus", `unknown command "bogus": there are attach, read, status, upgrade; see spate-target --help`},
		{"help bogus", `unknown command "bogus": there are attach, read, status, upgrade; see spate-target --help`},
		{"--bogus", "unknown flag: --bogus; see spate-target --help"},
		{"--json status", "unknown flag: --json; see spate-target --help"},
		{"status --bogus", "unknown flag: --bogus; see spate-target status --help"},
		{"status --version", "unknown flag: --version; see spate-target status --help"},
		{"status -x", "unknown shorthand flag: 'x' in -x; see spate-target status --help"},
		{"status more", `status wants no argument, got "more"; see spate-target status --help`},
		{"status -- --json", `status wants no argument, got "--json"; see spate-target status --help`},
		{"read --out", "flag needs an argument: --out; see spate-target read --help"},
		{"read --discard --repeat-for soon", `invalid argument "soon" for "--repeat-for" flag: time: invalid duration "soon"; see spate-target read --help`},
		{"upgrade", "upgrade wants FILE, the new spate-target, got 0 arguments; see spate-target upgrade --help"},
		{"upgrade a b", "upgrade wants FILE, the new spate-target, got 2 arguments; see spate-target upgrade --help"},
		{"attach --write-cache ram:1G", "say where the disk is shown: --nbd-socket PATH or --nbd-device DEVICE"},
		{"read", "say where the bytes go: --out FILE or --discard"},
	} {
		text, said, code := runLine(t, strings.Fields(c.line)...)
		if code != 1 || text != "" || said != "spate-target: "+c.want+"\n" {
			t.Errorf("spate-target %s: exit code %d, printed %q, said %q", c.line, code, text, said)
		}
	}
}

// Flags may stand on either side of arguments; what stands behind -- is an argument, whatever it looks like.
func TestFlagsMayStandOnEitherSideOfArguments(t *testing.T) {
	for _, c := range []struct {
		line, file string
		deep       int
		servers    []string
	}{
		{"FILE", "FILE", 0, nil},
		{"--deep 2 --server a FILE", "FILE", 2, []string{"a"}},
		{"FILE --deep=2 --server a --server b,c", "FILE", 2, []string{"a", "b", "c"}},
		{"--server a FILE --deep 2", "FILE", 2, []string{"a"}},
		{"--deep 2 -- --server", "--server", 2, nil},
		{"-- --help", "--help", 0, nil},
		{"-", "-", 0, nil},
	} {
		var deep int
		var servers, got []string
		probe := command{
			name: "probe", wants: "FILE",
			flags: func(f *pflag.FlagSet) {
				f.IntVar(&deep, "deep", 0, "")
				f.StringSliceVar(&servers, "server", nil, "")
			},
			run: func(_ context.Context, _ streams, args []string) error { got = args; return nil },
		}
		if err := probe.do(t.Context(), streams{}, strings.Fields(c.line)); err != nil ||
			!slices.Equal(got, []string{c.file}) || deep != c.deep || !slices.Equal(servers, c.servers) {
			t.Errorf("probe %s: %v, argument %q, --deep %d, --server %q", c.line, err, got, deep, servers)
		}
	}
}
