package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/httpboot"
	"github.com/spate-project/spate/bootsvc/ipxe"
	"github.com/spate-project/spate/bootsvc/ndp"
	"github.com/spate-project/spate/bootsvc/tftp"
	"github.com/spate-project/spate/cmd/internal/farm"
)

// bootPlan is which boot services a server runs, and where.
type bootPlan struct {
	dhcp    farm.DHCP
	http    netip.AddrPort // whose address is the server's on the machines' network
	tftp    bool
	secure  bool
	routers bool   // machines that boot are told that no router is there
	card    string // empty: the one that has the address
	subnets []farm.Subnet
	share   dhcp.Share // of the pools
	force   bool
}

// planBoot says which boot services a server of a farm file runs; nil for none.
func planBoot(c *farm.Config, name string) *bootPlan {
	s := c.Server(name)
	if c.Boot == nil || s == nil || s.Boot == nil {
		return nil
	}
	b := &bootPlan{
		dhcp: c.Boot.DHCP, http: netip.AddrPortFrom(s.Boot.Address, c.Boot.HTTP), tftp: c.Boot.TFTP == farm.On,
		secure: c.Boot.SecureBoot == farm.On, routers: c.Boot.RouterAdvertisement == farm.On, card: s.Boot.Interface, subnets: c.Boot.Subnets,
	}
	for _, one := range c.Servers {
		if one.Name == name {
			b.share.Index = b.share.Of
		}
		if one.Boot != nil {
			b.share.Of++
		}
	}
	return b
}

// planOpenBoot says which boot services a server without a farm file runs.
func planOpenBoot(what string, stream netip.AddrPort) (*bootPlan, error) {
	b := &bootPlan{dhcp: farm.DHCPOff, tftp: true}
	switch what {
	case "":
		return nil, nil
	case "http":
	case "proxy":
		b.dhcp, b.routers = farm.DHCPProxy, true
	default:
		return nil, fmt.Errorf("--boot %q: write http, or proxy to name the boot file beside the network's own DHCP server", what)
	}
	a := reachable(stream).Addr()
	if a.IsLoopback() || !a.Is4() {
		return nil, fmt.Errorf("--boot: machines cannot reach %s; add --listen with this server's IPv4 address on their network", a)
	}
	b.http = netip.AddrPortFrom(a, bootPort)
	return b, nil
}

// addr is where the boot services answer HTTP, not valid when there are none.
func (b *bootPlan) addr() netip.AddrPort {
	if b == nil {
		return netip.AddrPort{}
	}
	return b.http
}

// restarts names the settings of another plan that count only after a restart.
func (b *bootPlan) restarts(next *bootPlan) []string {
	if b == nil || next == nil {
		if b == next {
			return nil
		}
		return []string{"boot"}
	}
	var all []string
	for _, one := range []struct {
		name string
		same bool
	}{
		{"boot.dhcp", b.dhcp == next.dhcp}, {"boot.http", b.http.Port() == next.http.Port()}, {"boot.tftp", b.tftp == next.tftp},
		{"boot.router_advertisement", b.routers == next.routers},
		{"boot.subnets", fmt.Sprint(b.subnets) == fmt.Sprint(next.subnets)},
		{"servers[].boot.address", b.http.Addr() == next.http.Addr()}, {"servers[].boot.interface", b.card == next.card},
		{"the number or order of servers with boot", b.dhcp != farm.DHCPServer || b.share == next.share},
	} {
		if !one.same {
			all = append(all, one.name)
		}
	}
	return all
}

// runner is a service whose socket is bound.
type runner interface {
	Run(context.Context) error
}

// bootPart is one of the boot services.
type bootPart struct {
	name string
	open func() (runner, error) // binds its socket
	now  runner                 // as opened at the start; nil: it could not be
	// spare says that machines boot without it too, only slower.
	spare bool
}

// boot is the boot services of a server.
type boot struct {
	plan  *bootPlan
	parts []*bootPart
	card  string
	// settle waits until what machines are told is what the other servers tell them.
	settle func(context.Context)
	// note tells the farm what spate explain is to say.
	note func(bootsvc.Event)
	log  *zap.Logger
}

// newBoot binds the sockets of the boot services that the plan asks for; nil for none.
func (s *server) newBoot() (*boot, error) {
	p := s.p.boot
	if p == nil {
		return nil, nil
	}
	b := &boot{plan: p, settle: s.farm.Settle, note: s.farm.Directory().Note, log: s.log.Named("boot")}
	var err error
	if b.card, err = cardOf(p.http.Addr(), p.card); err != nil {
		return nil, err
	}
	loaders := ipxe.NewLoaders("/")
	for _, text := range loaders.Problems(p.secure) {
		b.log.Error("a boot loader is missing", zap.String("do", text))
	}
	machines := ndp.NewMachines()
	dir := machines.Watch(s.farm.Directory())
	tree := files.New(dir, loaders)
	b.parts = append(b.parts, &bootPart{name: "HTTP", open: func() (runner, error) {
		h, err := httpboot.New(httpboot.Config{Listen: p.http, Tree: tree, MACOf: macOf, Log: b.log.Named("http")})
		return opened(h, err, "another program has this port; ss -ltnp shows which one; stop it, or set boot.http to another port on all servers")
	}})
	if p.tftp {
		b.parts = append(b.parts, &bootPart{name: "TFTP", open: func() (runner, error) {
			t, err := tftp.New(tftp.Config{Listen: netip.AddrPortFrom(p.http.Addr(), tftpPort), Tree: tree, MACOf: macOf, Log: b.log.Named("tftp")})
			return opened(t, err, "another TFTP server runs here; ss -lunp shows which one; stop it, or set boot.tftp: off")
		}})
	}
	if p.dhcp != farm.DHCPOff {
		b.parts = append(b.parts, &bootPart{name: "DHCP " + string(p.dhcp), open: func() (runner, error) {
			d, err := dhcp.New(s.dhcpConfig(b.card), dir, b.log.Named("dhcp"))
			return opened(d, err, "another DHCP or PXE service runs here; ss -lunp shows which one; stop it, or set boot.dhcp: off and let it name the boot file")
		}})
	}
	if p.routers {
		b.parts = append(b.parts, &bootPart{name: "router advertisement", spare: true, open: func() (runner, error) {
			n, err := ndp.New(b.card, machines, b.log.Named("ndp"))
			return opened(n, err, "")
		}})
	}
	for i, part := range b.parts {
		if part.now, err = part.open(); err != nil && !part.spare {
			for _, before := range b.parts[:i] {
				endUnused(before.now)
			}
			return nil, fmt.Errorf("boot services: %w", err)
		}
	}
	return b, nil
}

// opened says what to do about a socket that cannot be bound; taken is for a port that somebody has.
func opened[R runner](r R, err error, taken string) (runner, error) {
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: %s", err, taken)
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return nil, fmt.Errorf("%w: run spated as root, or give it CAP_NET_BIND_SERVICE and CAP_NET_RAW", err)
	}
	return nil, err
}

// endUnused closes the socket of a service that was never run: a service that runs under an ended context ends at once.
func endUnused(r runner) {
	if r == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.Run(ctx) // its error is that it was ended
}

// The ports of the boot services. Those of TFTP and DHCP are fixed: firmware knows no others.
const (
	bootPort = 6980
	tftpPort = 69
)

// dhcpConfig is what the DHCP service is made with.
func (s *server) dhcpConfig(card string) dhcp.Config {
	p := s.p.boot
	c := dhcp.Config{
		Mode: dhcp.ModeProxy, Interface: card, Addr: p.http.Addr(), Force: p.force,
		Server: bootsvc.Server{Name: s.p.name, Addr: p.http.Addr(), HTTP: p.http.Port()},
	}
	if p.dhcp != farm.DHCPServer {
		return c
	}
	c.Mode, c.Share, c.LeaseFile = dhcp.ModeServer, p.share, filepath.Join(s.p.state, s.p.name+".leases")
	c.Reserved = func() []netip.Addr {
		var all []netip.Addr
		for _, d := range s.farm.Config().Devices {
			if d.Boot.Address.IsValid() {
				all = append(all, d.Boot.Address)
			}
		}
		return all
	}
	for _, n := range p.subnets {
		one := dhcp.Subnet{Network: n.Network, Router: n.Router, DNS: n.DNS, Domain: n.Domain, Lease: n.Lease}
		for _, r := range n.Pools {
			one.Pools = append(one.Pools, dhcp.Range{First: r.First, Last: r.Last})
		}
		c.Subnets = append(c.Subnets, one)
	}
	return c
}

// cardOf finds the network card that has an address; want, if not empty, must be it.
func cardOf(a netip.Addr, want string) (string, error) {
	cards, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("boot services: network cards: %w", err)
	}
	var names []string
	for _, c := range cards {
		names = append(names, c.Name)
		addrs, _ := c.Addrs() // a card that has just gone has none
		for _, one := range addrs {
			if p, err := netip.ParsePrefix(one.String()); err != nil || p.Addr().Unmap() != a {
				continue
			}
			if want != "" && want != c.Name {
				return "", fmt.Errorf("boot services: %s is the address of %s, not of %s; set the boot address or interface of this server in the farm file", a, c.Name, want)
			}
			return c.Name, nil
		}
	}
	return "", fmt.Errorf("boot services: %s is no address of this machine, whose cards are %s; set the boot address of this server in the farm file, or give the card the address first",
		a, strings.Join(names, ", "))
}

// bootAgain is how long a boot service that has failed rests before it is started again.
const bootAgain = 30 * time.Second

// run serves until ctx ends. What fails is logged and tried again: machines that run need the stream service, whatever becomes of
// those that start.
func (b *boot) run(ctx context.Context, part *bootPart) error {
	b.settle(ctx)
	now, told := part.now, false
	for {
		var err error
		if now == nil {
			now, err = part.open()
		}
		if err == nil {
			err = now.Run(ctx)
			now = nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if !part.spare || !told {
			b.tell(part, err)
			told = true
		}
		t := time.NewTimer(bootAgain)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// tell says that a service does not run, and what to do.
func (b *boot) tell(part *bootPart, err error) {
	if part.spare {
		b.log.Warn("a boot service does not run; machines boot all the same, but may wait longer; this is not said again",
			zap.String("service", part.name), zap.Error(err), zap.Duration("tried again every", bootAgain))
		return
	}
	do := "see to what the error names; the service is started again by itself"
	if errors.Is(err, dhcp.ErrConflict) {
		do = "turn the other DHCP server off, or set boot.dhcp: proxy; --force-dhcp serves beside it all the same"
	}
	b.log.Error("a boot service does not run", zap.String("service", part.name), zap.Error(err), zap.String("do", do), zap.Duration("again in", bootAgain))
	b.note(bootsvc.Event{Service: part.name, Text: fmt.Sprintf("%s does not run here: %v", part.name, err), Problem: true})
}

// announce says what runs, and what the network's own DHCP server must be told.
func (b *boot) announce(w io.Writer) {
	if b == nil {
		return
	}
	p := b.plan
	parts := []string{fmt.Sprintf("http://%s/", p.http)}
	if p.tftp {
		parts = append(parts, fmt.Sprintf("TFTP at %s:%d", p.http.Addr(), tftpPort))
	}
	if p.dhcp != farm.DHCPOff {
		part := fmt.Sprintf("DHCP %s on %s", p.dhcp, b.card)
		if p.dhcp == farm.DHCPServer {
			part += fmt.Sprintf(" (in %d s, after looking for another one)", int(dhcp.CheckTime.Round(time.Second).Seconds()))
		}
		parts = append(parts, part)
	}
	fmt.Fprintln(w, "boot services: "+strings.Join(parts, ", "))
	if p.dhcp == farm.DHCPOff {
		fmt.Fprintf(w, "for the DHCP server of the network: next-server %s, file ipxe/undionly.kpxe for BIOS, ipxe/snponly.efi for UEFI, and http://%s/%s for iPXE\n",
			p.http.Addr(), p.http, bootsvc.FileScript)
	}
}
