package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/stream/secure"
)

// VDisk is the name of the vDisk that a farm serves unless it is told otherwise.
const VDisk = "lab"

// Options say what a farm is like.
type Options struct {
	Dir     string   // everything is made below it; short, because sockets lie there
	Bin     string   // folder of the programs
	Servers int      // how many
	VDisk   string   // empty: VDisk
	Primary int      // 1: the first server comes before all others, as long as it serves; 0: they are equal
	Devices []string // MAC addresses that the farm file names; all others are served too
	Flags   []string // of every server, beside those that make it one of this farm
	Bridge  *Bridge  // where the servers live; nil: on loopback
	Boot    string   // section boot of the farm file, in one line of YAML; every server runs boot services then
}

// Farm is the servers of one farm file. Each has a store of its own, which the caller fills.
type Farm struct {
	Options
	Key     string // what targets log in with
	File    string
	Servers []*Server
}

// Server is one spated of a farm.
type Server struct {
	Name     string
	Addr     netip.AddrPort
	Peer     netip.AddrPort
	Admin    string // path of the admin socket
	Store    string // folder
	Link     *Link  // nil on loopback
	*Process        // nil until it was started

	farm *Farm
}

// NewFarm makes key and farm file, and picks addresses.
func NewFarm(o Options) (*Farm, error) {
	if o.VDisk == "" {
		o.VDisk = VDisk
	}
	f := &Farm{Options: o, File: filepath.Join(o.Dir, "farm.yaml")}
	secret, _, err := keyfile.ReadOrCreate(filepath.Join(o.Dir, "farm.key"))
	if err != nil {
		return nil, err
	}
	f.Key = secure.NewFarm(secret).Public().String()
	for i := range o.Servers {
		s := &Server{Name: "lab-" + string(rune('a'+i)), farm: f}
		s.Admin, s.Store = filepath.Join(o.Dir, s.Name+".sock"), filepath.Join(o.Dir, "store-"+s.Name)
		if err := os.MkdirAll(s.Store, 0o755); err != nil {
			return nil, err
		}
		if err := f.place(s); err != nil {
			return nil, err
		}
		f.Servers = append(f.Servers, s)
	}
	return f, os.WriteFile(f.File, []byte(f.Text()), 0o644)
}

// The standard ports, used where a server has an address to itself.
const (
	streamPort = 6910
	peerPort   = 6911
)

// place gives a server its addresses.
func (f *Farm) place(s *Server) error {
	if f.Bridge != nil {
		var err error
		if s.Link, err = f.Bridge.Plug(); err != nil {
			return err
		}
		s.Addr, s.Peer = netip.AddrPortFrom(s.Link.Addr, streamPort), netip.AddrPortFrom(s.Link.Addr, peerPort)
		return nil
	}
	var all [2]netip.AddrPort
	for i := range all {
		port, err := FreePort()
		if err != nil {
			return err
		}
		all[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	}
	s.Addr, s.Peer = all[0], all[1]
	return nil
}

// FreePort finds a port of loopback that is free for UDP and TCP. Another program may take it before a server does;
// then that server says so.
func FreePort() (uint16, error) {
	for range 100 {
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return 0, err
		}
		port := u.LocalAddr().(*net.UDPAddr).Port
		t, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		u.Close()
		if err == nil {
			t.Close()
			return uint16(port), nil
		}
	}
	return 0, errors.New("no free port on loopback")
}

// Text is the farm file.
func (f *Farm) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("farm: lab\nkey_file: %s\nstate: %s", filepath.Join(f.Dir, "farm.key"), filepath.Join(f.Dir, "state"))
	if f.Boot != "" {
		line("boot: %s", f.Boot)
	}
	line("sites:\n  - name: here\nservers:")
	for _, s := range f.Servers {
		line("  - name: %s\n    site: here\n    stream: %s\n    peer: %s", s.Name, s.Addr, s.Peer)
		if f.Boot != "" {
			line("    boot: {}")
		}
	}
	line("stores:\n  - name: main\n    site: here\n    servers:")
	for _, s := range f.Servers {
		line("      - name: %s\n        path: %s", s.Name, s.Store)
	}
	line("vdisks:\n  - name: %s\n    store: main", f.VDisk)
	if f.Primary > 0 {
		line("    primary: [%s]", f.Servers[0].Name)
	}
	line("policy:\n  unknown: all\n  drain: 5s\ncollections:\n  - name: all\n    login: open\n    vdisks: [%s]", f.VDisk)
	for i, mac := range f.Devices {
		if i == 0 {
			line("devices:")
		}
		line("  - mac: %s\n    collection: all", mac)
	}
	return b.String()
}

// Fill puts identical replicas of a vDisk file into all stores.
func (f *Farm) Fill(file string) error {
	for _, s := range f.Servers {
		if err := CopyTo(s.Store, file); err != nil {
			return err
		}
	}
	return nil
}

// Addresses are those of all servers, as targets take them.
func (f *Farm) Addresses() (list []string) {
	for _, s := range f.Servers {
		list = append(list, s.Addr.String())
	}
	return list
}

// Server finds a server by name.
func (f *Farm) Server(name string) *Server {
	for _, s := range f.Servers {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Start starts all servers and waits until they are ready and have heard of one another.
func (f *Farm) Start(ctx context.Context) error {
	for _, s := range f.Servers {
		if err := s.Start(); err != nil {
			return err
		}
	}
	for _, s := range f.Servers {
		if _, err := s.Await(ctx, "ready"); err != nil {
			return err
		}
	}
	for _, s := range f.Servers {
		if err := s.knowsAll(ctx); err != nil {
			return err
		}
	}
	return nil
}

// knowPoll is how often a server is asked whom it knows.
const knowPoll = 20 * time.Millisecond

// knowsAll waits until the server knows that all servers of the farm serve.
func (s *Server) knowsAll(ctx context.Context) error {
	for {
		out, err := s.Spate(ctx, "server", "list", "--json")
		var list farm.ServerList
		if err == nil {
			err = json.Unmarshal([]byte(out), &list)
		}
		serving := 0
		for _, one := range list.Servers {
			if one.State == string(farm.StreamServing) {
				serving++
			}
		}
		if err == nil && serving == len(s.farm.Servers) {
			return nil
		}
		select {
		case <-time.After(knowPoll):
		case <-ctx.Done():
			return fmt.Errorf("%s does not know all servers: %w\n%s", s.Name, errors.Join(context.Cause(ctx), err), out)
		}
	}
}

// Close ends all servers.
func (f *Farm) Close() error {
	var all []error
	for _, s := range f.Servers {
		if s.Process != nil {
			_ = s.Signal(syscall.SIGCONT)
			_ = s.Signal(syscall.SIGTERM)
		}
	}
	for _, s := range f.Servers {
		if s.Process != nil {
			all = append(all, s.End())
		}
	}
	return errors.Join(all...)
}

// Start starts the server, anew when it has ended.
func (s *Server) Start() error {
	args := []string{filepath.Join(s.farm.Bin, "spated"), "--config", s.farm.File, "--server", s.Name, "--admin-socket", s.Admin, "--log-format", "json"}
	p, err := Spawn{
		Name: s.Name, Link: s.Link, Log: filepath.Join(s.farm.Dir, s.Name+".log"), Args: append(args, s.farm.Flags...),
	}.Start()
	if err == nil {
		s.Process = p
	}
	return err
}

// Spate runs the console against this server.
func (s *Server) Spate(ctx context.Context, args ...string) (string, error) {
	return Run(ctx, append(append([]string{filepath.Join(s.farm.Bin, "spate")}, args...), "--admin", s.Admin)...)
}
