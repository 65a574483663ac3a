//go:build linux

package nic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// inside says that this process is in one of the network namespaces: its value is the card's MAC address, or server.
	inside = "SPATE_NIC_TEST"
	// renumbered names a file: when it is there, the server gives other addresses and refuses the old ones.
	renumbered = "SPATE_NIC_TEST_RENUMBERED"
)

// serve is a DHCP server for one client.
func serve(moved string) error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), "lan"), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
		}), err)
	}}
	conn, err := lc.ListenPacket(context.Background(), "udp4", ":67")
	if err != nil {
		return err
	}
	defer conn.Close()
	for b := make([]byte, 2000); ; {
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			return err
		}
		in, err := dhcpv4.FromBytes(b[:n])
		if err != nil {
			return err
		}
		out, to := answer(in, moved), &net.UDPAddr{IP: net.IPv4bcast, Port: 68}
		if out == nil {
			continue
		}
		if !in.ClientIPAddr.IsUnspecified() && out.MessageType() == dhcpv4.MessageTypeAck {
			to.IP = in.ClientIPAddr
		}
		if _, err := conn.WriteTo(out.ToBytes(), to); err != nil {
			return err
		}
	}
}

func answer(in *dhcpv4.DHCPv4, moved string) *dhcpv4.DHCPv4 {
	me, you := net.IPv4(10, 99, 0, 1), net.IPv4(10, 99, 0, 50)
	if _, err := os.Stat(moved); err == nil {
		you = net.IPv4(10, 99, 0, 51)
	}
	out, err := dhcpv4.NewReplyFromRequest(in)
	if err != nil {
		return nil
	}
	wanted := in.RequestedIPAddress()
	if wanted == nil {
		wanted = in.ClientIPAddr
	}
	kind := dhcpv4.MessageTypeAck
	switch {
	case in.MessageType() == dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case !wanted.Equal(you):
		kind, you = dhcpv4.MessageTypeNak, net.IPv4zero
	}
	out.YourIPAddr = you
	for _, o := range []dhcpv4.Option{
		dhcpv4.OptMessageType(kind), dhcpv4.OptServerIdentifier(me), dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)),
		dhcpv4.OptIPAddressLeaseTime(8 * time.Second), dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 2}),
		dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{1400 >> 8, 1400 & 0xff}), dhcpv4.OptDNS(me),
		dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(10, 98, 0, 0), Mask: net.CIDRMask(16, 32)}, Router: net.IPv4(10, 99, 0, 9)},
			&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Router: me}),
	} {
		out.UpdateOption(o)
	}
	return out
}

const (
	testMAC  = "52:54:00:99:00:01"
	testLine = 60 * time.Second
)

// said collects lines.
type said struct {
	mu   sync.Mutex // guards text
	text string
}

func (s *said) line(l string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += l + "\n"
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

func sh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A card in a namespace of its own, opposite a DHCP server with short leases in another one.
func TestARealCardGetsRenewsAndKeepsItsAddress(t *testing.T) {
	switch os.Getenv(inside) {
	case "":
	case "server":
		t.Fatal(serve(os.Getenv(renumbered)))
	default:
		life(t)
		return
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed")
	}
	if os.Getuid() != 0 {
		t.Skip("network namespaces are for root")
	}
	server, client := fmt.Sprintf("dnic%ds", os.Getpid()), fmt.Sprintf("dnic%dc", os.Getpid())
	for _, ns := range []string{server, client} {
		sh(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { sh(t, "ip", "netns", "del", ns) })
	}
	sh(t, "ip", "-n", client, "link", "add", "eth0", "address", testMAC, "type", "veth", "peer", "name", "lan", "netns", server)
	// A bridge with the card's MAC address must not be taken for the card.
	sh(t, "ip", "-n", client, "link", "add", "br0", "address", testMAC, "type", "bridge")
	sh(t, "ip", "-n", server, "addr", "add", "10.99.0.1/24", "dev", "lan")
	sh(t, "ip", "-n", server, "link", "set", "lan", "up")
	moved := filepath.Join(t.TempDir(), "moved")
	dhcp := exec.Command("ip", "netns", "exec", server, os.Args[0], "-test.run=^"+t.Name()+"$")
	dhcp.Env = append(os.Environ(), inside+"=server", renumbered+"="+moved)
	dhcp.Stdout = os.Stderr
	if err := dhcp.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { dhcp.Process.Kill(); dhcp.Wait() }()
	c := exec.Command("ip", "netns", "exec", client, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=90s")
	c.Env = append(os.Environ(), inside+"="+testMAC, renumbered+"="+moved)
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// scene is a card that is up, with an agent that looks after it.
type scene struct {
	*testing.T
	ctx   context.Context
	want  Want
	link  *Link
	lines said
	stop  func() // ends the agent
}

// has tells whether ip(8) shows something.
func has(what string, args ...string) func() bool {
	return func() bool {
		out, _ := exec.Command("ip", args...).CombinedOutput()
		return strings.Contains(string(out), what)
	}
}

// What ip(8) shows while all is well.
var (
	theAddress = has("10.99.0.50/24", "-4", "addr")
	forever    = has("valid_lft forever", "-4", "addr", "show", "scope", "global")
	gateway    = has("default via 10.99.0.1", "route")
	other      = has("10.98.0.0/16 via 10.99.0.9", "route")
)

func well() bool { return theAddress() && forever() && gateway() && other() }

func (s *scene) wait(what string, good func() bool) {
	s.Helper()
	for !good() {
		if sleep(s.ctx, cardPoll) != nil {
			s.Fatalf("not seen: %s\n%s%s%s", what, s.lines.String(), sh(s.T, "ip", "addr"), sh(s.T, "ip", "route"))
		}
	}
}

func (s *scene) says(what string) {
	s.Helper()
	s.wait(what, func() bool { return strings.Contains(s.lines.String(), what) })
}

// run starts an agent, and waits until it has renewed the lease.
func (s *scene) run() {
	s.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.link.Run(ctx) }() // ends by stop
	s.stop = func() { cancel(); <-ended }
	since := s.link.Lease().Since
	s.wait("a renewal", func() bool { return s.link.Lease().Since > since })
}

// life is the life of a card.
func life(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testLine)
	defer cancel()
	mac, _ := net.ParseMAC(os.Getenv(inside))
	dir := t.TempDir()
	s := &scene{T: t, ctx: ctx, want: Want{Card: mac, ResolvConf: filepath.Join(dir, "resolv.conf"), StateFile: filepath.Join(dir, "state")}}
	var err error
	if s.link, err = Up(ctx, s.want, s.lines.line); err != nil {
		t.Fatal(err, s.lines.String())
	}
	lease := s.link.Lease()
	if lease.Name != "eth0" || lease.Router.String() != "10.99.0.1" || lease.Renew != 2*time.Second || !well() || !has("mtu 1400", "link")() {
		t.Errorf("%#v\n%s%s", lease, sh(t, "ip", "addr"), sh(t, "ip", "route"))
	}
	if b, err := os.ReadFile(s.want.ResolvConf); err != nil || !strings.Contains(string(b), "nameserver 10.99.0.1\n") {
		t.Errorf("%s, %v", b, err)
	}
	s.run()
	sh(t, "ip", "addr", "flush", "dev", "eth0")
	s.wait("the address after a flush", well)
	sh(t, "ip", "link", "set", "eth0", "down")
	sh(t, "ip", "link", "set", "eth0", "name", "ens3")
	s.says("is called ens3 now")
	s.wait("the card up, and its routes", well)
	s.stop()

	// Another agent goes on; the operating system sets a lifetime and another address, then takes both away.
	s.link = Adopt(s.link.Lease(), s.want, s.lines.line)
	s.run()
	sh(t, "ip", "addr", "change", lease.Address.String(), "dev", "ens3", "valid_lft", "300", "preferred_lft", "300")
	s.says("looks after ens3 now: it has given")
	sh(t, "ip", "addr", "add", "10.97.0.200/24", "dev", "ens3")
	sh(t, "ip", "addr", "del", lease.Address.String(), "dev", "ens3")
	s.says("it has set the address 10.97.0.200/24")
	sh(t, "ip", "addr", "flush", "dev", "ens3")
	s.wait("the old address again", well)

	// Another machine's start, with the boot loader's lease: nobody is asked before it is used, and then its server.
	s.stop()
	sh(t, "ip", "addr", "flush", "dev", "ens3")
	s.want.Lease = ParseLease("spate.lease=10.99.0.50,1:ffffff00,3:0a630009,51:fffffffe,54:0a630001") // which counts from the kernel's start
	asked := strings.Count(s.lines.String(), "asking for an address")
	if s.link, err = Up(ctx, s.want, s.lines.line); err != nil || !theAddress() || strings.Count(s.lines.String(), "asking for an address") != asked {
		t.Fatal(err, s.lines.String())
	}
	s.run()
	if l := s.link.Lease(); l.Unconfirmed || len(l.Routes) != 1 {
		t.Errorf("%+v", l)
	}
	s.wait("the routes of the confirmed lease", well)

	// The network is renumbered: the old address is refused, and goes when the new one is there.
	if err := os.WriteFile(os.Getenv(renumbered), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.wait("the new address alone", func() bool { return has("10.99.0.51/24", "-4", "addr")() && !theAddress() && gateway() && other() })
	s.stop()
	t.Log(s.lines.String())
	if n := strings.Count(s.lines.String(), "putting it back"); n != 3 {
		t.Errorf("%d repairs, want 3", n)
	}
	if state, err := os.ReadFile(s.want.StateFile); err != nil || !strings.Contains(string(state), `"name":"ens3"`) {
		t.Errorf("%s, %v", state, err)
	}
}
