//go:build system

package system

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// shape makes a text the same for each run: numbers, times, addresses and units are replaced, and the two servers are
// called by their roles.
func shape(text, serving, other string) string {
	for _, r := range []struct{ what, by string }{
		{serving, "FIRST"}, {other, "SECOND"},
		{`\b\d\d:\d\d:\d\d\b`, "TIME"},
		{`\b[0-9a-f]{4}…[0-9a-f]{2}\b`, "ROOT"},
		{`\d+(\.\d+){3}:\d+`, "ADDRESS"},
		{`under 1 ms`, "N ms"},
		{`AES-256-GCM|ChaCha20-Poly1305`, "CIPHER"},
		{`\d+(\.\d+)?`, "N"},
		{`N [kMGT]?B/s`, "N B/s"},
		{`N [kMGT]B in all`, "N B in all"},
		{` +\n`, "\n"},
		{`  +`, "  "},
	} {
		text = regexp.MustCompile(r.what).ReplaceAllString(text, r.by)
	}
	return text
}

// golden compares a text with what is expected of it.
func golden(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		ok(t, os.MkdirAll("testdata", 0o755))
		ok(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	ok(t, err)
	if text != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, text, want)
	}
}

// statusText is what a person sees who asks how the target fares.
func statusText(t testing.TB, f *lab.Farm) string {
	t.Helper()
	p := start(t, lab.Spawn{Name: "status", Args: []string{program("spate-target"), "status"}, Env: f.Environment()})
	status, err := p.Wait(soon(t))
	ok(t, err)
	if status != 0 {
		t.Errorf("spate-target status ended with %d:\n%s%s", status, p.Out, p.Log)
	}
	return p.Out.String()
}

// The acceptance procedure: look at the status of a target and note its server, stop that server's stream service on the
// console, see the status show the other server; what reads the disk has not noticed.
func TestTheTargetMovesWhenItsServerIsStopped(t *testing.T) {
	f := startFarm(t, lab.Options{Servers: 2})
	target := attach(t, f, "t1")
	r := readAllTheTime(t, target)
	r.goesOn()
	before, err := target.Status(soon(t))
	ok(t, err)
	first, second := f.Server(before.Server), f.Servers[0]
	if second == first {
		second = f.Servers[1]
	}
	eventually(t, "the target knows the other server", func() bool {
		s, err := target.Status(t.Context())
		return err == nil && len(s.Alternates) == 1 && s.Alternates[0].State == "serving"
	})
	golden(t, "status-before", shape(statusText(t, f), first.Name, second.Name))

	out, err := second.Spate(soon(t), "server", "stop-stream", first.Name)
	ok(t, err)
	golden(t, "stop-stream", shape(out, first.Name, second.Name))

	r.goesOn()
	eventually(t, "the move is told", func() bool { return strings.Contains(target.Out.String(), "→") })
	golden(t, "status-after", shape(statusText(t, f), first.Name, second.Name))
	golden(t, "attach-output", shape(target.Out.String(), first.Name, second.Name))
	after, err := target.Status(soon(t))
	ok(t, err)
	if after.Server != second.Name || after.Failovers != 1 || after.Errors != 0 {
		t.Errorf("status: %+v", after)
	}
	list, err := second.Spate(soon(t), "server", "list")
	ok(t, err)
	for line := range strings.Lines(list) {
		if strings.HasPrefix(line, first.Name) && !strings.Contains(line, "stopped") {
			t.Errorf("the console does not show the stop:\n%s", list)
		}
	}
	_, err = second.Spate(soon(t), "server", "start-stream", first.Name)
	ok(t, err)
	eventually(t, "the target knows that the first server serves again", func() bool {
		s, err := target.Status(t.Context())
		return err == nil && len(s.Alternates) == 1 && s.Alternates[0].State == "serving"
	})
	r.goesOn()
	t.Logf("longest read: %s", r.end())
}

// A stop that would leave a target without a server is refused, and nothing happens; with --force the target waits.
func TestAStopThatStrandsTargetsIsRefused(t *testing.T) {
	f := startFarm(t, lab.Options{Servers: 1})
	target := attach(t, f, "t1")
	r := readAllTheTime(t, target)
	r.goesOn()
	only := f.Servers[0]
	if out, err := only.Spate(soon(t), "server", "stop-stream", only.Name); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("not refused: %v\n%s", err, out)
	}
	r.goesOn()
	if out, err := only.Spate(soon(t), "server", "stop-stream", only.Name, "--force", "--deadline", "1s"); err == nil {
		t.Errorf("a target is left, and the exit status is 0:\n%s", out)
	}
	await(t, target.Process, "no server serves this target")
	_, err := only.Spate(soon(t), "server", "start-stream", only.Name)
	ok(t, err)
	r.goesOn()
}
