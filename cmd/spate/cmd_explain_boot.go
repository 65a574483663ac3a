package main

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// eventTime is how the time of an event is told, in the zone of whoever asks.
const eventTime = "Jan _2 15:04:05"

// printBoot tells what a device would boot, and what was last done for it.
func printBoot(w io.Writer, e farm.Explanation) {
	for i, v := range e.Boot {
		switch {
		case i == 0:
			fmt.Fprintln(w)
			printEntry(w, v.Entry)
		case v.Runs && !sameBoot(v.Entry, e.Boot[0].Entry):
			fmt.Fprintf(w, "\n%s answers the device in another way than %s:\n", v.Server, e.Boot[0].Server)
			printEntry(w, v.Entry)
		}
	}
	for _, v := range e.Boot {
		for _, x := range v.Network {
			fmt.Fprintf(w, "\n%s noticed on the network, %s: problem: %s\n", v.Server, x.At.Local().Format(eventTime), x.Text)
		}
		switch {
		case len(v.Events) > 0:
			fmt.Fprintf(w, "\n%s did %s for it, these are the last:\n", v.Server, count(v.Seen, "thing"))
			for _, x := range v.Events {
				again, mark := "", ""
				if x.Times > 1 {
					again = fmt.Sprintf(" (%d times)", x.Times)
				}
				if x.Problem {
					mark = "problem: "
				}
				fmt.Fprintf(w, "  %s  %s: %s%s%s\n", x.At.Local().Format(eventTime), x.Service, mark, x.Text, again)
			}
		case v.Runs:
			fmt.Fprintf(w, "\n%s has not heard of the device since it was started\n", v.Server)
		}
	}
}

// sameBoot tells whether a device would boot the same from two servers. Each names itself first to the kernel, and says in
// its own words why.
func sameBoot(a, b farm.BootEntry) bool {
	a.Why, b.Why = "", ""
	for _, e := range []*farm.BootEntry{&a, &b} {
		e.Choices = slices.Clone(e.Choices)
		for i := range e.Choices {
			e.Choices[i].CommandLine = ""
		}
	}
	return reflect.DeepEqual(a, b)
}

// printEntry tells what a device would boot.
func printEntry(w io.Writer, e farm.BootEntry) {
	row := func(what, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-11s %s\n", what, text)
		}
	}
	switch {
	case e.Silent:
		row("boots", "not from this farm: it gets no answer")
	case e.Refusal != "":
		row("boots", "nothing: "+e.Refusal)
	case e.Local:
		row("boots", "its own disk")
	case len(e.Choices) == 1 && !e.LocalDisk:
		row("boots", choiceText(e.Choices[0]))
	default:
		wait := "for ever"
		if e.Timeout > 0 {
			wait = short(e.Timeout)
		}
		row("boots", "a choice, that waits "+wait)
		for _, c := range e.Choices {
			row("", choiceText(c)+unless(!c.Default, " (by itself)"))
		}
		if e.LocalDisk {
			row("", "its own disk"+unless(!e.LocalDefault, " (by itself)"))
		}
	}
	row("because", e.Why)
	row("address", strings.TrimSpace(e.Address+unless(e.Address == "", ", reserved")))
	row("host name", e.Hostname)
	row("secure boot", unless(!e.SecureBoot, "on: UEFI goes through the signed shim and GRUB"))
	for _, c := range e.Choices {
		if c.Default && c.Missing == "" {
			row("kernel", c.CommandLine)
		}
	}
}

func choiceText(c farm.BootChoice) string {
	if c.Missing != "" {
		return c.Title + ", which cannot be booted: " + c.Missing
	}
	return c.Title
}
