package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// asked names, in the environment of this program as a helper process, the test that it helps.
const asked = "SPATED_TEST_NICENESS"

// A server takes its niceness where it may, says so once, and leaves alone what it was given.
func TestAServerRunsBeforeOrdinaryProgramsUnlessItWasToldOtherwise(t *testing.T) {
	if os.Getenv(asked) != "" {
		preferMe(zap.NewExample())
		out, err := exec.Command("nice").Output() // prints the niceness that it has of us
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("niceness " + string(out))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("a niceness below one's own takes root")
	}
	for _, c := range []struct {
		given, want string
		lines       int
	}{{"0", "-10", 1}, {"5", "5", 0}, {"-3", "-3", 0}} {
		// From niceness 0, whatever that of this test is.
		cmd := exec.Command("sh", "-c", `renice -n "$1" -p $$ >/dev/null && exec "$2" -test.run ToldOtherwise`, "sh", c.given, os.Args[0])
		cmd.Env = append(os.Environ(), asked+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "niceness "+c.want+"\n") || bytes.Count(out, []byte("ordinary programs")) != c.lines {
			t.Errorf("given %s: %v\n%s", c.given, err, out)
		}
	}
}
