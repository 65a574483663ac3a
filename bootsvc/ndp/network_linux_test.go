package ndp

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
)

const insideVariable = "SPATE_TEST_IN_NAMESPACE"

// inside runs the test again, in a network namespace of its own that ends with it.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network interfaces in a namespace of its own")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("%v; install iproute2", err)
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	c.Env = append(os.Environ(), insideVariable+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

func ipCommand(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// awaitCable waits until the kernel sends on a card whose other end has just come up: what is sent before is lost.
func awaitCable(t *testing.T, card string) {
	t.Helper()
	for range 500 {
		if out, err := exec.Command("ip", "link", "show", card).Output(); err == nil && strings.Contains(string(out), "state UP") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the cable of %s does not come up", card)
}

// wire is the machines' end of a cable.
type wire struct {
	t *testing.T
	*link.Socket
}

func listen(t *testing.T, iface string) wire {
	t.Helper()
	s, err := link.ListenRouters(iface)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return wire{t, s}
}

func (w wire) send(frame []byte) {
	w.t.Helper()
	if err := w.Write(frame); err != nil {
		w.t.Fatal(err)
	}
}

// next waits for the next message that somebody else sends.
func (w wire) next(from bootsvc.MAC) message {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, maxFrame)
	for {
		n, err := w.Read(b)
		if err != nil {
			w.t.Fatal(err)
		}
		if m, ok := parse(b[:n]); ok && m.from == from {
			return m
		}
	}
}

// solicit is a solicitation of a card, whose number is its last byte.
func solicit(number byte) (bootsvc.MAC, []byte) {
	mac := bootsvc.MAC{0x52, 0x54, 0, 0x77, 0, number}
	return mac, appendFrame(nil, mac, allRoutersMAC, made(mac), allRouters, append([]byte{solicitation, 0, 0, 0, 0, 0, 0, 0, optionSource, 1}, mac[:]...))
}

// The cards have no IPv6 at all. What is sent first is decided first, so a later answer shows that an earlier question had none.
func TestOnARealNetwork(t *testing.T) {
	if !inside(t) {
		return
	}
	ipCommand(t, "link add s0 type veth peer name c0")
	for _, n := range []string{"s0", "c0"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+n+"/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		ipCommand(t, "link set "+n+" up")
	}
	awaitCable(t, "s0")
	awaitCable(t, "c0")
	cable := listen(t, "c0")
	machines := NewMachines()
	s, err := New("s0", machines, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := s.mac
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // ends with the card, and is waited for below
	if m := cable.next(server); m.kind != solicitation || m.to != allRoutersMAC || m.dst != allRouters || !m.src.IsUnspecified() {
		t.Errorf("routers are asked by %+v", m)
	}
	mac, ask := solicit(1)
	for n := range byte(5) {
		m, _ := solicit(n)
		machines.ask(m, time.Now())
	}
	answered := func(mac bootsvc.MAC, ask []byte) {
		t.Helper()
		cable.send(ask)
		if m := cable.next(server); m.kind != advertisement || m.to != mac || m.dst != made(mac) || m.src != made(server) || m.lifetime != 0 || m.configures {
			t.Errorf("%s gets %+v", mac, m)
		}
	}
	_, stranger := solicit(9)
	cable.send(stranger)
	answered(mac, ask)
	_, tagged := solicit(2)
	cable.send(slices.Insert(tagged, 12, 0x81, 0, 0, 7)) // on another VLAN
	mac, ask = solicit(3)
	answered(mac, slices.Insert(ask, 12, 0x81, 0, 0xe0, 0)) // with a priority, on no VLAN
	cable.send(advert(0, 1800, ""))
	_, ask = solicit(4)
	cable.send(ask)
	cable.send(advert(0, 0, ""))
	mac, ask = solicit(0)
	answered(mac, ask)
	ipCommand(t, "link set s0 down")
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "ndp on s0") {
		t.Errorf("without its card: %v", err)
	}
	if s, err = New("s0", machines, nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run gives %v after its end", err)
	}
	if _, err := New("nope0", machines, nil); err == nil || !strings.Contains(err.Error(), "interface nope0") {
		t.Errorf("without a card: %v", err)
	}
}
