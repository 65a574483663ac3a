package vmlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// DHCP starts dnsmasq as the network's DHCP server on a link, as an administrator would have one already. What machines boot is
// in more, arguments of dnsmasq; without any it gives out addresses only. Somebody must call End.
func (n *Network) DHCP(l *lab.Link, more ...string) (*lab.Process, error) {
	first, last, _ := strings.Cut(pool, "-")
	args := []string{"dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--port=0", "--interface=eth0",
		"--bind-interfaces", "--dhcp-range=" + first + "," + last + ",255.255.255.0,1h", "--dhcp-authoritative", "--no-ping", "--log-dhcp",
		"--user=root", "--dhcp-leasefile=" + filepath.Join(n.dir, "dnsmasq.leases"), "--log-facility=-", "--pid-file"}
	return lab.Spawn{Name: "dnsmasq", Link: l, Args: append(args, more...)}.Start()
}

// Peer is the boot that Spate is compared with: dnsmasq, a file server for kernel and initramfs, and nbd-server.
type Peer struct {
	Link      *lab.Link
	processes []*lab.Process
	server    *http.Server
	served    chan struct{}
}

const (
	filePort = 8080
	nbdPort  = 10809
)

// Peer starts the peer on a link of its own, for one machine, and a router that advertises itself. What it boots is system, with these words added to the kernel's command line.
// Somebody must call Close, also after an error.
func (n *Network) Peer(system vmtest.System, commandLine string) (*Peer, error) {
	p := &Peer{}
	if err := n.Advertise(); err != nil {
		return p, err
	}
	folder := filepath.Join(n.dir, "peer")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return p, err
	}
	var err error
	if p.Link, err = n.Plug(); err != nil {
		return p, err
	}
	url := fmt.Sprintf("http://%s:%d/", p.Link.Addr, filePort)
	script := fmt.Sprintf("#!ipxe\nkernel %svmlinuz initrd=peer.gz nbd=%s:%d %s\ninitrd %speer.gz\nboot\n", url, p.Link.Addr, nbdPort, commandLine, url)
	config := fmt.Sprintf("[generic]\nlistenaddr = %s\nport = %d\n[root]\nexportname = %s\nreadonly = true\n", p.Link.Addr, nbdPort, system.Root)
	err = errors.Join(
		os.WriteFile(filepath.Join(folder, "boot.ipxe"), []byte(script), 0o644),
		os.WriteFile(filepath.Join(n.dir, "nbd.conf"), []byte(config), 0o644),
		link(system.Kernel, filepath.Join(folder, "vmlinuz")),
		link(system.Peer, filepath.Join(folder, "peer.gz")),
		link("/usr/lib/ipxe/undionly.kpxe", filepath.Join(folder, "undionly.kpxe")),
		link("/usr/lib/ipxe/snponly.efi", filepath.Join(folder, "snponly.efi")))
	if err != nil {
		return p, err
	}
	if err := p.serveFiles(folder); err != nil {
		return p, err
	}
	dhcp, err := n.DHCP(p.Link, "--enable-tftp", "--tftp-root="+folder,
		"--dhcp-option-force=encap:175,176,1b", // no proxyDHCP server will answer
		"--dhcp-match=set:efi64,option:client-arch,7", "--dhcp-userclass=set:ipxe,iPXE",
		"--dhcp-boot=tag:!efi64,tag:!ipxe,undionly.kpxe", "--dhcp-boot=tag:efi64,tag:!ipxe,snponly.efi", "--dhcp-boot=tag:ipxe,"+url+"boot.ipxe")
	if err != nil {
		return p, err
	}
	p.processes = append(p.processes, dhcp)
	// In the foreground (-d) it serves one machine and no other one, and is a child that dies with us.
	disk, err := lab.Spawn{Name: "nbd-server", Link: p.Link, Args: []string{"nbd-server", "-d", "-C", filepath.Join(n.dir, "nbd.conf"), "-p", filepath.Join(n.dir, "nbd.pid")}}.Start()
	if err != nil {
		return p, err
	}
	p.processes = append(p.processes, disk)
	return p, nil
}

func link(from, to string) error {
	if err := os.Symlink(from, to); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// serveFiles serves a folder by HTTP.
func (p *Peer) serveFiles(folder string) error {
	var l net.Listener
	err := p.Link.Within(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp4", fmt.Sprintf("%s:%d", p.Link.Addr, filePort))
		return err
	})
	if err != nil {
		return err
	}
	p.server, p.served = &http.Server{Handler: http.FileServer(http.Dir(folder))}, make(chan struct{})
	go func() { // Close ends it and waits for it
		defer close(p.served)
		_ = p.server.Serve(l) // it was closed, which it says
	}()
	return nil
}

// Said is what the servers have said.
func (p *Peer) Said() string {
	var b strings.Builder
	for _, one := range p.processes {
		fmt.Fprintf(&b, "%s said:\n%s%s\n", one.Name, one.Out, one.Log)
	}
	return b.String()
}

// Close ends the servers.
func (p *Peer) Close() error {
	var all []error
	if p.server != nil {
		all = append(all, p.server.Close())
		<-p.served
	}
	for _, one := range p.processes {
		one.Kill() // nbd-server in the foreground listens to nothing else
	}
	return errors.Join(all...)
}
