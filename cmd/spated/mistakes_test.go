package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What an administrator gets wrong is named, with where it stands and what would be right.
func TestMistakesAtTheStartAreNamed(t *testing.T) {
	dir := t.TempDir()
	farmFile := filepath.Join(dir, "farm.yaml")
	text := "farm: x\nkey_file: " + dir + "/farm.key\nstate: " + dir + "\nservers: [{name: lab-a, stream: 127.0.0.1:1}]\nstores: [{name: s, path: /s, servers: [lab-a]}]\n"
	if err := os.WriteFile(farmFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"", "say what to serve"},
		{"--store a --config b", "exclude one another"},
		{"--store a b", `takes no arguments, got ["b"]; see spated --help`},
		{"--stor a", "unknown flag: --stor; see spated --help"},
		{"--config " + dir + "/none.yaml", "there is no farm file " + dir + "/none.yaml; copy it from another server"},
		{"--config " + farmFile + " --server lab-b", `has no server "lab-b"; it has lab-a; name this one with --server`},
		{"--config " + farmFile + " --server lab-a", "the farm's secret is not in " + dir + "/farm.key; copy that file from another server of the farm, or"},
		{"--store a --listen 300.1.1.1", "write an address of this machine, such as"},
		{"--store a --join nowhere", "write HOST:PORT of another server"},
		{"--store " + dir + " --state " + dir + " --listen 192.0.2.77", "192.0.2.77 is no address of this machine"},
		{"--store a --scrub-every -1s", "cannot be less than 0"},
		{"--store a --boot proxy", "machines cannot reach 127.0.0.1; add --listen"},
		{"--config a --boot proxy", "the farm file has a section boot"},
		{"--store a --force-dhcp", "--force-dhcp is for a server that gives out addresses, and this one does not"},
	} {
		root := newRoot()
		root.SetArgs(strings.Fields(c.args))
		root.SetOut(new(bytes.Buffer))
		root.SetErr(new(bytes.Buffer))
		if err := root.ExecuteContext(context.Background()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("spated %s: %v", c.args, err)
		}
	}
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"--config", farmFile, "--check"})
	root.SetOut(&out)
	if err := root.ExecuteContext(context.Background()); err != nil || !strings.Contains(out.String(), "no mistakes") {
		t.Errorf("--check on a machine that is none of the servers: %q, %v", out.String(), err)
	}
}
