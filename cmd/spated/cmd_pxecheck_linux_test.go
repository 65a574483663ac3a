package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp"
	"github.com/spate-project/spate/bootsvc/probe"
)

// anyMachine is a directory in which each machine boots. It counts the machines that ask for an address, and those that take one.
type anyMachine struct {
	bootsvc.Directory
	asked, taken *atomic.Int32
}

func (anyMachine) Boot(bootsvc.Client) bootsvc.Entry { return bootsvc.Entry{} }
func (anyMachine) Farm() bootsvc.Farm                { return bootsvc.Farm{} }
func (m anyMachine) Note(e bootsvc.Event) {
	switch {
	case strings.Contains(e.Text, "asks for an address"):
		m.asked.Add(1)
	case strings.Contains(e.Text, "takes an address"):
		m.taken.Add(1)
	}
}

// pxe runs spated pxe-check and gives what it prints, and its exit status.
func pxe(args ...string) (string, int) {
	var out, messages bytes.Buffer
	c := newRoot()
	c.SetOut(&out)
	c.SetArgs(append([]string{"pxe-check"}, args...))
	if err := c.ExecuteContext(context.Background()); err != nil {
		status := tell(&messages, err)
		return out.String() + messages.String(), status
	}
	return out.String(), 0
}

func TestPXECheckSaysWhatIsMissingFromItsCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"":                           "which network? name its interface with --interface",
		"--interface nope0":          "interface nope0",
		"--interface lo --wait 1h":   "not between 100ms and 1m",
		"--interface lo eth1":        `takes no arguments, got ["eth1"]; see spated pxe-check --help`,
		"--interface lo --wait 10ms": "not between",
	} {
		if out, status := pxe(strings.Fields(args)...); status != 1 || !strings.HasPrefix(out, "spated: ") || !strings.Contains(out, want) {
			t.Errorf("%q: status %d, %q; want %q", args, status, out, want)
		}
	}
}

func TestEachOutcomeOfPXECheckHasItsStatus(t *testing.T) {
	for r, want := range map[probe.Result]int{probe.Boots: 0, probe.Nothing: 2, probe.Conflict: 3} {
		status := 0
		if err := exitOf(r); err != nil {
			status = tell(new(bytes.Buffer), err)
		}
		if status != want {
			t.Errorf("outcome %d ends with status %d, want %d", r, status, want)
		}
	}
}

func TestPXECheckTellsWhoWinsAndEndsWithItsStatus(t *testing.T) {
	const inside = "SPATE_TEST_IN_NAMESPACE"
	if os.Getenv(inside) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root: it makes network interfaces in a namespace of its own")
		}
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
		c.Env = append(os.Environ(), inside+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	for _, args := range []string{"link set lo up", "link add v0 type veth peer name v1", "link set v0 up", "addr add 192.0.2.1/24 dev v0"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	if out, status := pxe("--interface", "v1"); status != 1 || !strings.Contains(out, "interface v1 is down; bring it up with: ip link set v1 up") {
		t.Errorf("status %d: %s", status, out)
	}
	if out, err := exec.Command("ip", "link", "set", "v1", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, status := pxe("--interface", "v1", "--wait", "300ms"); status != exitNothing || strings.Count(out, "=> nobody answers.") != len(probe.Kinds) || strings.Count(out, "VLAN") != 1 {
		t.Errorf("status %d: %s", status, out)
	}
	addr := netip.MustParseAddr("192.0.2.1")
	all := anyMachine{asked: new(atomic.Int32), taken: new(atomic.Int32)}
	s, err := dhcp.New(dhcp.Config{
		Mode: dhcp.ModeServer, Interface: "v0", Addr: addr, Server: bootsvc.Server{Addr: addr, HTTP: 6980},
		Subnets: []dhcp.Subnet{{Network: netip.MustParsePrefix("192.0.2.0/24"), Pools: []dhcp.Range{{First: netip.MustParseAddr("192.0.2.50"), Last: netip.MustParseAddr("192.0.2.99")}}}},
	}, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // ended by cancel and waited for below
	var out string
	status := -1
	for deadline := time.Now().Add(20 * time.Second); status != 0 && time.Now().Before(deadline); {
		out, status = pxe("--interface", "v1", "--wait", "600ms") // it looks for other servers first
	}
	if status != 0 || !strings.Contains(out, "=> 192.0.2.1 wins with ipxe/undionly.kpxe: it gives address and boot file in one offer.") {
		t.Errorf("status %d: %s", status, out)
	}
	out, status = pxe("--interface", "v1", "--wait", "600ms", "--json")
	var r probe.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != 0 || len(r.Verdicts) != 4 || r.Verdicts[3].Winner != addr {
		t.Errorf("status %d, %v: %s", status, err, out)
	}
	if out, status := pxe("--interface", "v0", "--wait", "600ms"); status != 0 || !strings.Contains(out, "192.0.2.1 wins") {
		t.Errorf("on the server itself: status %d: %s", status, out)
	}
	cancel()
	<-ended
	if asked, taken := all.asked.Load(), all.taken.Load(); asked < int32(len(probe.Kinds)) || taken != 0 {
		t.Errorf("%d questions, %d addresses taken", asked, taken)
	}
}
