package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// The standard ports.
const (
	streamPort = 6910
	peerPort   = 6911
)

// options are the flags as given.
type options struct {
	config, name        string
	check               bool
	store, listen, peer string
	join                []string
	state, admin        string
	scrubEvery          time.Duration
	scrubRate           int    // MB a second
	boot                string // of a server without a farm file
	forceDHCP           bool
	logLevel, logFormat string
	out, messages       io.Writer
}

// plan is what a server is to be, whichever way it was described.
type plan struct {
	name       string
	config     *farm.Config
	path       string // of the farm file
	stream     netip.AddrPort
	peer       netip.AddrPort // not valid: no other servers
	peerChosen bool           // by the administrator, so that it must work
	join       []netip.AddrPort
	state      string
	socket     string         // of the admin API
	admin      netip.AddrPort // of the admin API over TLS, not valid for none
	keyFile    string
	olderKey   string
	stores     []farm.Copy // named by Server: the name of the store
	open       bool
	boot       *bootPlan     // nil: no boot services
	scrubEvery time.Duration // 0: never
	scrubRate  int64         // bytes a second; 0: no limit
}

func (o options) plan() (*plan, error) {
	var p *plan
	var err error
	switch {
	case o.config == "" && o.store == "":
		return nil, errors.New("say what to serve: --config FILE, or --store DIR for a folder with vDisks")
	case o.config != "" && o.store != "":
		return nil, errors.New("--config and --store exclude one another: the farm file names the stores")
	case o.config != "" && o.boot != "":
		return nil, errors.New("--boot goes with --store: the farm file has a section boot")
	case o.scrubEvery < 0 || o.scrubRate < 0:
		return nil, errors.New("--scrub-every and --scrub-rate cannot be less than 0")
	case o.config != "":
		p, err = o.planFarm()
	default:
		p, err = o.planStore()
	}
	if err != nil {
		return nil, err
	}
	if o.forceDHCP && !o.check && (p.boot == nil || p.boot.dhcp != farm.DHCPServer) {
		return nil, errors.New("--force-dhcp is for a server that gives out addresses, and this one does not: its farm file would have boot.dhcp: server, and boot: {} for this server")
	}
	if p.boot != nil {
		p.boot.force = o.forceDHCP
	}
	p.scrubEvery, p.scrubRate = o.scrubEvery, int64(o.scrubRate)*1e6
	return p, nil
}

func (o options) hostname() (string, error) {
	if o.name != "" {
		return o.name, nil
	}
	h, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the host name is not known; name this server with --server: %w", err)
	}
	return h, nil
}

// planFarm reads the farm file and finds this server in it.
func (o options) planFarm() (*plan, error) {
	c, err := farm.ReadConfig(o.config)
	if err != nil {
		return nil, err
	}
	name, err := o.hostname()
	if err != nil {
		return nil, err
	}
	s := c.Server(name)
	if s == nil && o.check && o.name == "" {
		return &plan{config: c, path: o.config}, nil // a farm file can be checked anywhere
	}
	if s == nil {
		text := "the farm file " + o.config + " has no server " + strconv.Quote(name) + "; it has"
		for i, s := range c.Servers {
			text += map[bool]string{true: " ", false: ", "}[i == 0] + s.Name
		}
		return nil, errors.New(text + "; name this one with --server")
	}
	p := &plan{
		name: name, config: c, path: o.config, stream: s.Stream, peer: s.Peer, peerChosen: true,
		state: c.StateDir, socket: c.Admin.Socket, admin: s.Admin, keyFile: c.KeyFile, olderKey: c.OlderKeyFile,
		boot: planBoot(c, name),
	}
	if o.state != "" {
		p.state = o.state
	}
	if p.socket == "" {
		p.socket = filepath.Join(p.state, "admin.sock")
	}
	if o.admin != "" {
		p.socket = o.admin
	}
	for _, st := range c.Stores {
		for _, copy := range st.Copies {
			if copy.Server == name {
				p.stores = append(p.stores, farm.Copy{Server: st.Name, Path: copy.Path})
			}
		}
	}
	return p, nil
}

// planStore makes a farm of one out of a folder.
func (o options) planStore() (*plan, error) {
	p := &plan{config: farm.OpenConfig(), open: true, state: o.state, socket: o.admin}
	var err error
	if p.stream, err = address("--listen", o.listen, streamPort); err != nil {
		return nil, err
	}
	if p.name, err = o.hostname(); err != nil {
		return nil, err
	}
	if o.name == "" && p.stream.Port() != streamPort {
		p.name += "-" + strconv.Itoa(int(p.stream.Port()))
	}
	if p.boot, err = planOpenBoot(o.boot, p.stream); err != nil {
		return nil, err
	}
	next := p.stream.Port() + 1
	if p.stream.Port() == 0 {
		next = 0
	}
	p.peer = netip.AddrPortFrom(p.stream.Addr(), next)
	if o.peer != "" {
		p.peerChosen = true
		if p.peer, err = address("--peer", o.peer, peerPort); err != nil {
			return nil, err
		}
	}
	for _, j := range o.join {
		a, err := net.ResolveUDPAddr("udp", j)
		if err != nil {
			return nil, fmt.Errorf("--join %q: write HOST:PORT of another server, as that one prints it when it starts, such as 192.0.2.11:%d: %w", j, peerPort, err)
		}
		p.join = append(p.join, netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port()))
	}
	if p.state == "" {
		if p.state, err = stateFolder(); err != nil {
			return nil, err
		}
	}
	if p.socket == "" {
		p.socket = filepath.Join(p.state, "admin.sock")
	}
	p.keyFile = filepath.Join(p.state, "farm.key")
	p.stores = []farm.Copy{{Server: farm.OpenStore, Path: o.store}}
	return p, nil
}

// address reads ADDRESS[:PORT].
func address(flag, s string, port uint16) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, port), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, fmt.Errorf("%s %q: write an address of this machine, such as 192.0.2.11 or 192.0.2.11:%d", flag, s, port)
	}
	return a, nil
}

// stateFolder is where a server without a farm file keeps its keys: never in
// the store, which may be copied and shared.
func stateFolder() (string, error) {
	if os.Getuid() == 0 {
		return "/var/lib/spate", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "spate"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for keys; name one with --state: %w", err)
	}
	return filepath.Join(home, ".local", "state", "spate"), nil
}
