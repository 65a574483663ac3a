package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spate-project/spate/vdisk"
)

// login says who can log in to the system.
func (b *build) login() string {
	var ways []string
	if n := b.findings.Accounts; len(n) > 0 {
		ways = append(ways, fmt.Sprintf("on the console: %s, with a password", strings.Join(n, ", ")))
	} else {
		ways = append(ways, "on the console: nobody, no account has a password")
	}
	if b.findings.Keys {
		ways = append(ways, "over SSH: root, with a key")
	}
	return strings.Join(ways, "; ")
}

// print tells what was made, and what to do with it.
func (b *build) print(w io.Writer) {
	r := b.result
	fmt.Fprintln(w, r)
	fmt.Fprintf(w, "kernel        %s, %s\n", b.kernel.Version, vdisk.Bytes(r.Boot.Kernel.Size))
	fmt.Fprintf(w, "boot image    %s, %s", vdisk.Bytes(r.Boot.Image.Size), count(len(b.report.Modules), "module"))
	if p := b.report.Parts; p != nil {
		fmt.Fprintf(w, "; machines with a common card load %s", vdisk.Bytes(p.First))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "command line  %s\n", r.Boot.CommandLine)
	fmt.Fprintf(w, "log-in        %s\n", b.login())
	for _, n := range b.findings.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	fmt.Fprintf(w, `
In the farm file, with a store whose path is %s:

vdisks:
  - {name: %s, store: STORE}
collections:
  - {name: COLLECTION, vdisks: [%s]}

Then a device of that collection boots it over the network, where a server runs the boot services; spate explain DEVICE says
what it will get.
`, b.storePath(), r.Name, r.Name)
}

type buildJSON struct {
	versionJSON
	Kernel   string     `json:"kernel_version"`
	Modules  int        `json:"boot_image_modules"`
	Parts    *partsJSON `json:"boot_image_parts"`
	Accounts []string   `json:"console_accounts"`
	SSH      bool       `json:"ssh_keys"`
	Notes    []string   `json:"notes"`
	Seconds  float64    `json:"import_seconds"`
}

func (b *build) json() buildJSON {
	return buildJSON{
		versionJSON: summaryJSON(&b.result.Summary), Kernel: b.kernel.Version, Modules: len(b.report.Modules), Parts: partsReport(b.report.Parts),
		Accounts: append([]string{}, b.findings.Accounts...), SSH: b.findings.Keys, Notes: append([]string{}, b.findings.Notes...), Seconds: b.result.Seconds,
	}
}

// storePath is the store as the farm file names it.
func (b *build) storePath() string {
	dir, err := filepath.Abs(filepath.Dir(b.result.Path))
	if err != nil {
		return filepath.Dir(b.result.Path)
	}
	return dir
}
