package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/spate-project/spate/cmd/internal/version"
)

// command is one thing that this program can be told to do.
type command struct {
	name    string
	use     string // what follows the name
	short   string // a line, for the list of commands
	long    string
	example string
	wants   string               // its argument, in words; a command without takes none
	flags   func(*pflag.FlagSet) // adds its flags; nil: it has none but --help
	run     func(ctx context.Context, s streams, args []string) error
}

// streams is where a command writes: what was asked for into out, how it goes into messages.
type streams struct{ out, messages io.Writer }

// commands are all there are, but for help.
func commands() []*command {
	return []*command{newAttach(), newRead(), newStatus(), newUpgrade()}
}

// run does what args say, which follow the name of the program.
func run(ctx context.Context, s streams, args []string) error {
	for len(args) > 0 && args[0] == "help" { // help COMMAND is COMMAND --help
		args = slices.Concat(args[1:], []string{"--help"})
	}
	f, help := newFlags("spate-target")
	f.SetInterspersed(false) // what follows a command is for that command
	showVersion := f.BoolP("version", "v", false, "version for spate-target")
	switch err := f.Parse(args); {
	case err != nil:
		return fmt.Errorf("%w; see spate-target --help", err)
	case *help || f.NArg() == 0 && !*showVersion:
		fmt.Fprint(s.out, overview(f))
		return nil
	case *showVersion:
		fmt.Fprintln(s.out, "spate-target version", version.String())
		return nil
	}
	var names []string
	for _, c := range commands() {
		if c.name == f.Arg(0) {
			return c.do(ctx, s, f.Args()[1:])
		}
		names = append(names, c.name)
	}
	return fmt.Errorf("unknown command %q: there are %s; see spate-target --help", f.Arg(0), strings.Join(names, ", "))
}

// do runs c with args, which may hold flags before, between and behind arguments.
func (c *command) do(ctx context.Context, s streams, args []string) error {
	f, help := newFlags(c.name)
	if c.flags != nil {
		c.flags(f)
	}
	err := f.Parse(args)
	switch {
	case err != nil:
	case *help:
		fmt.Fprint(s.out, c.help(f))
		return nil
	case c.wants == "" && f.NArg() > 0:
		err = fmt.Errorf("%s wants no argument, got %q", c.name, f.Arg(0))
	case c.wants != "" && f.NArg() != 1:
		err = fmt.Errorf("%s wants %s, got %d arguments", c.name, c.wants, f.NArg())
	}
	if err != nil {
		return fmt.Errorf("%w; see spate-target %s --help", err, c.name)
	}
	return c.run(ctx, s, f.Args())
}

// newFlags is a set with the flag that the program and each command has.
func newFlags(name string) (f *pflag.FlagSet, help *bool) {
	f = pflag.NewFlagSet(name, pflag.ContinueOnError)
	return f, f.BoolP("help", "h", false, "help for "+name)
}

// help is what people read who ask for the help of c, which has these flags.
func (c *command) help(f *pflag.FlagSet) string {
	return fmt.Sprintf("%s\n\nUsage:\n  %s [flags]\n\nExamples:\n%s\n\nFlags:\n%s",
		c.long, strings.TrimSpace("spate-target "+c.name+" "+c.use), c.example, f.FlagUsages())
}

// overview is the help of the program, which has these flags.
func overview(f *pflag.FlagSet) string {
	var b strings.Builder
	b.WriteString(about + "\n\nUsage:\n  spate-target [command]\n\nAvailable Commands:\n")
	for _, c := range append(commands(), &command{name: "help", short: "Help about any command"}) {
		fmt.Fprintf(&b, "  %-11s %s\n", c.name, c.short)
	}
	b.WriteString("\nFlags:\n" + f.FlagUsages())
	b.WriteString("\nUse \"spate-target [command] --help\" for more information about a command.\n")
	return b.String()
}
