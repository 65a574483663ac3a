//go:build system

package system

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/pin/tftp/v3"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
	"github.com/spate-project/spate/bootsvc/probe"
	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/vdisk"
)

// insideVariable is set in the process that has a network of its own.
const insideVariable = "SPATE_SYSTEM_INSIDE"

// enclosed runs the test again in a network of its own, where the rest of it is done; true in there.
func enclosed(t *testing.T) bool {
	if os.Getenv(insideVariable) != "" {
		return true
	}
	if err := lab.NeedLinks(); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	ok(t, err)
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	cmd.SysProcAttr, cmd.Env = lab.Isolated(), append(os.Environ(), insideVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("the test did not run:\n%s", out)
	}
	return false
}

// machine is a machine that starts: a card, and what its firmware would do.
type machine struct {
	mac  bootsvc.MAC
	card *link.Socket
}

// machineCard is the end of the lab's bridge that this process has, by which it also asks for files: who loads a file is known by the
// address of its card.
const machineCard = "lab0"

// newMachine makes our end of the lab's network the card of a machine.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{mac: bootsvc.MAC{0x52, 0x54, 0, 0x77, 0, 1}}
	_, err := lab.Run(t.Context(), "ip", "link", "set", machineCard, "address", m.mac.String())
	ok(t, err)
	m.card, err = link.Listen(machineCard)
	ok(t, err)
	t.Cleanup(func() { m.card.Close() })
	return m
}

// ask sends a message of DHCP, again each second, until an answer comes that is wanted.
func (m *machine) ask(ctx context.Context, p *dhcpv4.DHCPv4, wanted func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, error) {
	frame := link.Datagram{
		SrcMAC: link.MAC(m.mac), DstMAC: link.Broadcast, Src: netip.MustParseAddrPort("0.0.0.0:68"), Dst: netip.MustParseAddrPort("255.255.255.255:67"), Payload: p.ToBytes(),
	}.Append(nil)
	b := make([]byte, 2048)
	for ctx.Err() == nil {
		if err := m.card.Write(frame); err != nil {
			return nil, err
		}
		if err := m.card.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
		for {
			n, err := m.card.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			d, isUDP := link.ParseDatagram(b[:n])
			if !isUDP {
				continue
			}
			if a, err := dhcpv4.FromBytes(d.Payload); err == nil && a.TransactionID == p.TransactionID && a.OpCode == dhcpv4.OpcodeBootReply && wanted(a) {
				return a, nil
			}
		}
	}
	return nil, fmt.Errorf("no answer to %s: %w", p.Summary(), context.Cause(ctx))
}

// lease goes from discover to an address, as iPXE does, with a server that fits; it returns the answer.
func (m *machine) lease(ctx context.Context, server func(netip.Addr) bool) (*dhcpv4.DHCPv4, error) {
	var xid [4]byte
	_, _ = rand.Read(xid[:])
	discover := probe.IPXE.Discover(m.mac, xid)
	offer, err := m.ask(ctx, discover, func(a *dhcpv4.DHCPv4) bool {
		id, _ := netip.AddrFromSlice(a.ServerIdentifier().To4())
		return a.MessageType() == dhcpv4.MessageTypeOffer && server(id)
	})
	if err != nil {
		return nil, err
	}
	request := probe.IPXE.Discover(m.mac, xid)
	request.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
	request.UpdateOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))
	request.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))
	return m.ask(ctx, request, func(a *dhcpv4.DHCPv4) bool { return a.MessageType() == dhcpv4.MessageTypeAck })
}

// get asks an HTTP server for a part of a file, all of it when the part is empty.
func get(ctx context.Context, url, part string) (string, *http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", nil, err
	}
	if part != "" {
		r.Header.Set("Range", part)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	return string(b), a, err
}

// bootFiles are a kernel and a boot image that nobody can mistake.
func bootFiles(t *testing.T) (kernel, image string) {
	t.Helper()
	text := func(n int64) string {
		b := make([]byte, n)
		_, err := rand.Read(b)
		ok(t, err)
		return string(b)
	}
	extra, err := rand.Int(rand.Reader, big.NewInt(1000))
	ok(t, err)
	return text(3<<20 + extra.Int64()), text(100_000)
}

// bootable makes a small vDisk that carries a kernel and a boot image, and returns its file.
func bootable(t *testing.T, kernel, image string) string {
	t.Helper()
	source := func(name, text string) vdisk.BootSource {
		return vdisk.BootSource{Name: name, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
	}
	dir := folder(t)
	_, err := vdisk.Import(t.Context(), vdisk.ImportOptions{
		Source: "-", Input: strings.NewReader(strings.Repeat("disk", 64<<10)), Into: dir, Name: lab.VDisk, Codec: vdisk.DefaultCodec,
		Boot: vdisk.BootFiles{Kernel: source("kernel", kernel), Image: source("image", image), CommandLine: "quiet from-the-vdisk"},
	})
	ok(t, err)
	return filepath.Join(dir, vdisk.FileName(lab.VDisk, 0))
}

// From one server or the other a machine gets its address, its script, its kernel and its first file; after the death of
// either it gets all of that from the one that is left, and spate explain tells what was done.
func TestAMachineBootsFromEitherServer(t *testing.T) {
	if !enclosed(t) {
		return
	}
	if _, err := os.Stat("/usr/lib/ipxe/undionly.kpxe"); err != nil {
		t.Skip(err, "; install the Debian package ipxe")
	}
	dir := folder(t)
	bridge, err := lab.NewBridge(dir)
	ok(t, err)
	t.Cleanup(bridge.Close)
	kernel, image := bootFiles(t)
	f, err := lab.NewFarm(lab.Options{
		Dir: dir, Bin: bin, Servers: 2, Bridge: bridge,
		Boot: "{dhcp: server, subnets: [{network: 10.177.0.0/24, pool: 10.177.0.100-10.177.0.120, router: 10.177.0.1, lease: 10m}]}",
	})
	ok(t, err)
	ok(t, f.Fill(bootable(t, kernel, image)))
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, s := range f.Servers {
				t.Logf("%s:\n%s%s", s.Name, s.Out, s.Log)
			}
		}
	})
	ok(t, f.Start(soon(t)))
	a, b := f.Servers[0], f.Servers[1]
	if line, err := a.Await(soon(t), "boot services: "); err != nil || !strings.Contains(line, "TFTP at "+a.Link.Addr.String()+":69, DHCP server on eth0") {
		t.Errorf("announced: %q, %v", line, err)
	}
	m := newMachine(t)
	for _, s := range f.Servers {
		m.boots(t, f, s, kernel, image)
	}
	a.Kill()
	m.boots(t, f, b, kernel, image)
	out, _ := b.Spate(soon(t), "explain", m.mac.String())
	for _, want := range []string{"boots       lab version 0", "kernel      quiet from-the-vdisk spate.server=", "dhcp: ", "script: ", "http: "} {
		if !strings.Contains(out, want) {
			t.Errorf("explain does not tell %q:\n%s", want, out)
		}
	}
}

// kernelOf finds the kernel of a server in a script, and the folder that it is in, which names the content of the version.
func kernelOf(server netip.Addr) *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`(http://%s:6980/boot/%s@0/[0-9a-f]{%d}/)kernel\b`, server, lab.VDisk, bootsvc.ContentDigits))
}

// boots goes through what a machine does with one server, from the first question to the last file.
func (m *machine) boots(t *testing.T, f *lab.Farm, s *lab.Server, kernel, image string) {
	t.Helper()
	ctx := soon(t)
	ack, err := m.lease(ctx, func(id netip.Addr) bool { return id == s.Link.Addr })
	ok(t, err)
	if !netip.MustParsePrefix("10.177.0.100/27").Contains(netip.AddrFrom4([4]byte(ack.YourIPAddr.To4()))) || !ack.GatewayIPAddr.Equal(net.IPv4zero) {
		t.Errorf("the lease: %s", ack.Summary())
	}
	url := fmt.Sprintf("http://%s:6980/script/%s", s.Link.Addr, m.mac.Hyphens())
	if ack.BootFileName != url && ack.BootFileNameOption() != url {
		t.Errorf("the script is %q %q, want %s", ack.BootFileName, ack.BootFileNameOption(), url)
	}
	script, _, err := get(ctx, url, "")
	ok(t, err)
	for _, want := range []string{"#!ipxe", "quiet from-the-vdisk", "spate.farm-key=" + f.Key, "spate.vdisk=" + lab.VDisk + "@0"} {
		if !strings.Contains(script, want) {
			t.Errorf("the script has no %q:\n%s", want, script)
		}
	}
	base := ""
	for _, one := range f.Servers { // for everything, whichever is asked
		kernel := kernelOf(one.Link.Addr).FindStringSubmatch(script)
		if kernel == nil || !strings.Contains(script, one.Addr.String()) {
			t.Fatalf("the script of %s does not name %s:\n%s", s.Name, one.Name, script)
		}
		if one == s {
			base = kernel[1]
		}
	}
	got, r, err := get(ctx, base+"kernel", "")
	if err != nil || got != kernel || r.Header.Get("ETag") == "" {
		t.Errorf("the kernel: %d bytes, %v", len(got), err)
	}
	if part, r, err := get(ctx, base+"image", "bytes=50000-50999"); err != nil || part != image[50000:51000] || r.StatusCode != http.StatusPartialContent {
		t.Errorf("a part of the boot image: %d bytes, %v", len(part), err)
	}
	c, err := tftp.NewClient(net.JoinHostPort(s.Link.Addr.String(), "69"))
	ok(t, err)
	from, err := c.Receive("ipxe/undionly.kpxe", "octet")
	ok(t, err)
	var first bytes.Buffer
	_, err = from.WriteTo(&first)
	ok(t, err)
	if want, err := os.ReadFile("/usr/lib/ipxe/undionly.kpxe"); err != nil || !bytes.Equal(want, first.Bytes()) {
		t.Errorf("iPXE over TFTP: %d bytes, %v", first.Len(), err)
	}
}

// A server without a farm file boots machines from whatever in its folder carries a kernel, beside a DHCP server of somebody
// else: it offers no address, and says where the script is.
func TestAServerWithoutAFarmFileNamesTheBootFileOnly(t *testing.T) {
	if !enclosed(t) {
		return
	}
	dir := folder(t)
	bridge, err := lab.NewBridge(dir)
	ok(t, err)
	t.Cleanup(bridge.Close)
	place, err := bridge.Plug()
	ok(t, err)
	kernel, image := bootFiles(t)
	p := start(t, lab.Spawn{Name: "spated", Link: place, Args: []string{
		program("spated"), "--store", filepath.Dir(bootable(t, kernel, image)), "--state", dir, "--listen", place.Addr.String(), "--boot", "proxy",
	}})
	_, err = p.Await(soon(t), "ready")
	ok(t, err)
	m := newMachine(t)
	offer, err := m.ask(soon(t), probe.IPXE.Discover(m.mac, [4]byte{1}), func(a *dhcpv4.DHCPv4) bool { return a.MessageType() == dhcpv4.MessageTypeOffer })
	ok(t, err)
	url := fmt.Sprintf("http://%s:6980/script/%s", place.Addr, m.mac.Hyphens())
	if !offer.YourIPAddr.IsUnspecified() || offer.BootFileName != url && offer.BootFileNameOption() != url {
		t.Errorf("the offer: %s", offer.Summary())
	}
	script, _, err := get(soon(t), url, "")
	ok(t, err)
	if want := "spate.server=" + place.Addr.String() + ":6910 "; !strings.Contains(script, want) || !kernelOf(place.Addr).MatchString(script) {
		t.Errorf("the script has no %q:\n%s", want, script)
	}
}
