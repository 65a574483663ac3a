package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
	"github.com/spate-project/spate/bootsvc/probe"
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
	for _, program := range []string{"ip", "dnsmasq"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skipf("%v; install iproute2 and dnsmasq-base", err)
		}
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=120s")
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

// lan makes a bridge with three cards: s0 for our server, d0 for somebody else's, c0 for a client. All are in one namespace, so
// the kernel must take packets from its own addresses.
func lan(t *testing.T) {
	t.Helper()
	ipCommand(t, "link set lo up")
	ipCommand(t, "link add br0 type bridge forward_delay 0 stp_state 0")
	ipCommand(t, "link set br0 up")
	for _, n := range []string{"s0", "d0", "c0"} {
		ipCommand(t, "link add "+n+" type veth peer name p"+n)
		ipCommand(t, "link set p"+n+" master br0 up")
		ipCommand(t, "link set "+n+" up")
		for file, value := range map[string]string{"accept_local": "1", "rp_filter": "0", "arp_ignore": "1"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+n+"/"+file, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range []string{"s0", "d0", "c0", "ps0", "pd0", "pc0"} {
		awaitCable(t, n)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	ipCommand(t, "addr add 192.0.2.1/24 dev s0")
	ipCommand(t, "addr add 192.0.2.2/24 dev d0")
}

func dnsmasq(t *testing.T, options ...string) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	args := append([]string{"-k", "-C", "/dev/null", "--no-hosts", "--no-resolv", "--port=0", "--interface=d0", "--bind-interfaces", "--no-ping", "--user=root",
		"--dhcp-authoritative", "--dhcp-range=192.0.2.100,192.0.2.120,255.255.255.0,1h", "--dhcp-leasefile=" + filepath.Join(dir, "leases"), "--pid-file=" + filepath.Join(dir, "pid"),
		"--log-facility=" + filepath.Join(dir, "log")}, options...)
	c := exec.Command("dnsmasq", args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for range 100 { // it writes its number when it listens
		if b, err := os.ReadFile(filepath.Join(dir, "pid")); err == nil && len(b) > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return sync.OnceFunc(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if b, err := os.ReadFile(filepath.Join(dir, "log")); t.Failed() {
			t.Logf("dnsmasq: %s, %v", b, err)
		}
	})
}

// serve runs a service and gives what ends it.
func serve(t *testing.T, c Config, d bootsvc.Directory) (stop func() error) {
	t.Helper()
	_, stop = begin(t, c, d)
	return stop
}

// serveSettled is serve that returns when the service answers machines, or has refused to.
func serveSettled(t *testing.T, c Config, d bootsvc.Directory) (stop func() error) {
	t.Helper()
	settled, stop := begin(t, c, d)
	<-settled
	return stop
}

func begin(t *testing.T, c Config, d bootsvc.Directory) (settled <-chan struct{}, stop func() error) {
	t.Helper()
	done := make(chan struct{})
	settle := sync.OnceFunc(func() { close(done) })
	core, _ := observer.New(zap.InfoLevel)
	s, err := New(c, d, zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "answering machines" {
			settle()
		}
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	s.checkFor = 300 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	// Ended by stop, which waits for it.
	go func() {
		defer settle()
		ended <- s.Run(ctx)
	}()
	return done, func() error { cancel(); return <-ended }
}

// lockedDirectory is a fake directory for a service that runs beside the test.
type lockedDirectory struct {
	mu sync.Mutex
	fakeDirectory
}

func (d *lockedDirectory) Note(e bootsvc.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

func judge(t *testing.T) probe.Report {
	t.Helper()
	offers, err := probe.Ask(t.Context(), probe.Options{Interface: "c0", Wait: 700 * time.Millisecond, Kinds: probe.Kinds})
	if err != nil {
		t.Fatal(err)
	}
	return probe.Judge(probe.Kinds, offers)
}

func TestOnARealNetwork(t *testing.T) {
	if !inside(t) {
		return
	}
	lan(t)
	c := testConfig(t, "192.0.2.10", "192.0.2.49")
	c.Interface, c.LeaseFile = "s0", filepath.Join(t.TempDir(), "leases")
	t.Run("a service that cannot serve says why", func(t *testing.T) { refusals(t, c) })
	t.Run("other VLANs", otherVLANs)
	t.Run("many at once", manyAtOnce)
	t.Run("nobody answers", func(t *testing.T) {
		if r := judge(t); r.Result != probe.Nothing || r.Verdicts[0].Text != "nobody answers" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("server", func(t *testing.T) { asServer(t, c) })
	t.Run("a stranger in the pool", func(t *testing.T) { strangerInPool(t, c) })
	t.Run("beside another server", func(t *testing.T) { besideAnother(t, c) })
}

func refusals(t *testing.T, c Config) {
	refuse := func(change func(*Config), want ...string) {
		t.Helper()
		c := c
		change(&c)
		s, err := New(c, &fakeDirectory{}, nil)
		if err == nil {
			s.Close()
			t.Fatalf("no error, want %q", want)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v\ndoes not say %q", err, w)
			}
		}
	}
	refuse(func(c *Config) { c.Addr = at("192.0.2.9") }, "192.0.2.9 is not an address of interface s0", "192.0.2.1/24")
	refuse(func(c *Config) {
		c.Subnets = []Subnet{{Network: netip.MustParsePrefix("198.51.100.0/24")}}
	}, "no configured subnet is a network of interface s0", "192.0.2.1/24")
	refuse(func(c *Config) { c.Subnets = nil }, "no subnet is configured", "mode proxy")
	refuse(func(c *Config) { c.Interface = "nope0" }, "interface nope0")
	logged, doubts := observer.New(zap.WarnLevel)
	wide := c
	wide.Subnets = []Subnet{{Network: netip.MustParsePrefix("192.0.0.0/16")}}
	for _, c := range []Config{c, wide} {
		s, err := New(c, &fakeDirectory{}, zap.New(logged))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if all := doubts.All(); len(all) != 1 || all[0].ContextMap()["what"] != "subnet 192.0.0.0/16, and interface s0 with 192.0.2.1/24" {
		t.Errorf("of a network that is not the interface's is said %+v", all)
	}
	s, err := New(c, &fakeDirectory{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refuse(func(*Config) {}, "UDP port 67 is taken on this machine (by dhcp.test, process ", "leave boot.dhcp off here")
	client, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 68})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const want = "it is a DHCP client that shares the port with nobody: stop it"
	if _, err := probe.Ask(t.Context(), probe.Options{Interface: "s0", Wait: time.Second, Kinds: probe.Kinds}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\ndoes not say %q", err, want)
	}
}

// otherVLANs has a card hear ARP and replies with a tag of another VLAN, with the tag that gives a priority alone, and with none: the first
// are of another network, where the same addresses and other servers are nobody's business here.
func otherVLANs(t *testing.T) {
	listen := func(card string) *link.Socket {
		t.Helper()
		s, err := link.Listen(card)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	from, to := listen("c0"), listen("s0")
	for n, tag := range [][]byte{{0x81, 0, 0, 7}, {0x81, 0, 0xe0, 7}, {0x81, 0, 0xe0, 0}, {}} {
		claim := link.AppendQuestion(nil, from.MAC(), at("192.0.2.99"))
		copy(claim[14+14:], []byte{192, 0, 2, byte(n)}) // sender's address
		reply := link.Datagram{
			SrcMAC: from.MAC(), DstMAC: link.Broadcast, Src: netip.MustParseAddrPort("192.0.2.77:67"), Dst: netip.MustParseAddrPort("255.255.255.255:68"), Payload: []byte{byte(n)},
		}.Append(nil)
		for _, frame := range [][]byte{claim, reply} {
			if err := from.Write(slices.Insert(frame, 12, tag...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var heard []string
	b := make([]byte, 2048)
	for len(heard) == 0 || heard[len(heard)-1] != "reply 3" { // the last one
		_ = to.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := to.Read(b)
		if err != nil {
			t.Fatalf("%v, after %v", err, heard)
		}
		if c, ok := link.ParseClaim(b[:n]); ok && c.MAC == from.MAC() {
			heard = append(heard, fmt.Sprintf("claim %d", c.Addr.As4()[3]))
		} else if d, ok := link.ParseDatagram(b[:n]); ok && d.SrcMAC == from.MAC() {
			heard = append(heard, fmt.Sprintf("reply %d", d.Payload[0]))
		}
	}
	if want := []string{"claim 2", "reply 2", "claim 3", "reply 3"}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
}

// manyAtOnce sends what the machines of a few rooms send in the second in which they are switched on, while nobody has the time to read it.
func manyAtOnce(t *testing.T) {
	const machines = 800
	from, err := link.Listen("c0")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := link.ListenUDP("s0", portServer, false)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	for i := range machines {
		frame := link.Datagram{
			SrcMAC: from.MAC(), DstMAC: link.Broadcast, Src: netip.MustParseAddrPort("0.0.0.0:68"), Dst: netip.MustParseAddrPort("255.255.255.255:67"),
			Payload: probe.UEFI.Discover(macOf(i), [4]byte{}).ToBytes(),
		}.Append(nil)
		if err := from.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 2048)
	for i := range machines {
		_ = to.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, _, _, err := to.ReadFrom(b); err != nil {
			t.Fatalf("%d of %d were kept: %v", i, machines, err)
		}
	}
}

// asServer has pxe-check find our server, and a client go through the whole exchange by frames, as firmware does.
func asServer(t *testing.T, c Config) {
	d := &lockedDirectory{}
	stop := serveSettled(t, c, d) // it looks for others first
	r := judge(t)
	for _, v := range r.Verdicts {
		if v.Winner != c.Addr || v.Conflict {
			t.Errorf("%s: %+v", v.Name, v)
		}
	}
	raw, err := link.Listen("c0")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	client := raw.MAC()
	exchange := func(p *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		t.Helper()
		frame := link.Datagram{SrcMAC: client, DstMAC: link.Broadcast, Src: netip.MustParseAddrPort("0.0.0.0:68"), Dst: netip.MustParseAddrPort("255.255.255.255:67"), Payload: p.ToBytes()}.Append(nil)
		if err := raw.Write(frame); err != nil {
			t.Fatal(err)
		}
		_ = raw.SetReadDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 2048)
		for {
			n, err := raw.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if f, ok := link.ParseDatagram(b[:n]); ok && f.DstMAC == client { // to the card itself, without ARP
				if r, err := dhcpv4.FromBytes(f.Payload); err == nil && r.TransactionID == p.TransactionID {
					return r
				}
			}
		}
	}
	discover := probe.BIOS.Discover(client, [4]byte{1, 2, 3, 4})
	discover.SetUnicast()
	offer := exchange(discover)
	request := probe.BIOS.Discover(client, [4]byte{1, 2, 3, 5})
	request.SetUnicast()
	request.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
	request.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))
	request.UpdateOption(dhcpv4.OptServerIdentifier(net.IP{192, 0, 2, 1}))
	ack := exchange(request)
	if ack.MessageType() != dhcpv4.MessageTypeAck || ack.BootFileName != "ipxe/undionly.kpxe" || !ack.YourIPAddr.Equal(offer.YourIPAddr) {
		t.Errorf("%s", ack.Summary())
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	b, err := os.ReadFile(c.LeaseFile)
	if err != nil || !strings.Contains(string(b), offer.YourIPAddr.String()) {
		t.Errorf("the lease file holds %q, %v", b, err)
	}
}

// strangerInPool has somebody use the first address of the pool. The server knows that, and says so, before the first machine asks.
func strangerInPool(t *testing.T, c Config) {
	c.LeaseFile = ""
	ipCommand(t, "addr add 192.0.2.10/24 dev d0")
	defer ipCommand(t, "addr del 192.0.2.10/24 dev d0")
	d := &lockedDirectory{}
	stop := serveSettled(t, c, d)
	d.mu.Lock()
	told := slices.Clone(d.events)
	d.mu.Unlock()
	if len(told) != 1 || !told[0].Problem || !strings.Contains(told[0].Text, "192.0.2.10 is used by ") {
		t.Fatalf("before a machine asks is told %+v", told)
	}
	if r := judge(t); r.Verdicts[0].Winner != c.Addr {
		t.Errorf("%+v", r.Verdicts[0])
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, e := range d.events[1:] {
		if strings.Contains(e.Text, "192.0.2.10 ") {
			t.Errorf("then is told %+v", e)
		}
	}
}

func besideAnother(t *testing.T, c Config) {
	stopOther := dnsmasq(t)
	defer stopOther()
	if r := judge(t); r.Result != probe.Nothing || !strings.Contains(r.Verdicts[0].Text, "no boot file") {
		t.Errorf("beside a plain DHCP server: %+v", r)
	}
	err := serveSettled(t, c, &lockedDirectory{})
	if e := err(); !errors.Is(e, ErrConflict) || !strings.Contains(e.Error(), "192.0.2.2 offers address 192.0.2.1") || !strings.Contains(e.Error(), "mode proxy") {
		t.Errorf("a second server on the network: %v", e)
	}
	c.Mode = ModeProxy
	stop := serve(t, c, &lockedDirectory{})
	r := judge(t)
	for _, v := range r.Verdicts {
		if v.Winner != c.Addr || v.Conflict || r.Result != probe.Boots {
			t.Errorf("proxy: %s: %+v", v.Name, v)
		}
	}
	stopOther()
	stopRival := dnsmasq(t, "--dhcp-boot=pxelinux.0")
	defer stopRival()
	if r := judge(t); r.Verdicts[0].Winner != c.Addr || !strings.Contains(r.Verdicts[0].Text, "stands before 192.0.2.2 with pxelinux.0") {
		t.Errorf("proxy beside a server with a boot file: %+v", r.Verdicts[0])
	}
	_ = stop()
	c.Mode, c.Force = ModeServer, true
	stop = serveSettled(t, c, &lockedDirectory{})
	if r := judge(t); r.Verdicts[0].Winner != c.Addr {
		t.Errorf("by force: %+v", r.Verdicts[0])
	}
	_ = stop()
}
