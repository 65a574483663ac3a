package vmlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/cmd/internal/system/lab"
)

// FarmOptions say what a farm is like.
type FarmOptions struct {
	Bin     string // folder of the programs
	Disk    string // sealed file of the vDisk VDisk; every server gets a replica
	Servers int    // 0: two
	// DHCP is what the servers do about DHCP; empty: farm.DHCPServer.
	DHCP       farm.DHCP
	SecureBoot bool
	// CommandLine is added to the vDisk's by the collection of all machines.
	CommandLine string
	WriteCache  string // such as ram:512M; empty: the standard one
	Root        string // block or overlay; empty: the standard one
	Shell       bool   // after a failure a shell may be had on the console
	// Devices are machines that are known, as the section devices of the farm file lists them. The first machine of a network
	// has the MAC address that MAC(1) tells.
	Devices []string
}

// Farm is servers of Spate on a network, each with its stream service and its boot services at the end of a link of its own.
type Farm struct {
	FarmOptions
	Servers []*Server
	dir     string
	file    string
}

// Server is one spated.
type Server struct {
	Name         string
	Link         *lab.Link
	*lab.Process // nil until it was started
	admin        string
	store        string
	state        string
	farm         *Farm
}

// Farm makes a farm on the network. Somebody must call Close, also after an error.
func (n *Network) Farm(o FarmOptions) (*Farm, error) {
	if o.Servers == 0 {
		o.Servers = 2
	}
	if o.DHCP == "" {
		o.DHCP = farm.DHCPServer
	}
	dir := filepath.Join(n.dir, "farm")
	f := &Farm{FarmOptions: o, dir: dir, file: filepath.Join(dir, "farm.yaml")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return f, err
	}
	if _, _, err := keyfile.ReadOrCreate(filepath.Join(dir, "farm.key")); err != nil {
		return f, err
	}
	for i := range o.Servers {
		name := "server-" + string(rune('a'+i))
		s := &Server{Name: name, farm: f, admin: filepath.Join(dir, name+".sock"), store: filepath.Join(dir, name+".store"), state: filepath.Join(dir, name+".state")}
		var err error
		if s.Link, err = n.Plug(); err != nil {
			return f, err
		}
		if err := lab.CopyTo(s.store, o.Disk); err != nil {
			return f, err
		}
		f.Servers = append(f.Servers, s)
	}
	return f, os.WriteFile(f.file, []byte(f.text()), 0o644)
}

// text is the farm file.
func (f *Farm) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	either := func(yes bool) string {
		if yes {
			return "on"
		}
		return "off"
	}
	line("farm: lab\nkey_file: %s\nstate: %s", filepath.Join(f.dir, "farm.key"), f.dir)
	line("boot:\n  dhcp: %s\n  secure_boot: %s", f.DHCP, either(f.SecureBoot))
	if f.DHCP == farm.DHCPServer {
		line("  subnets:\n    - network: %s\n      pool: %s\n      router: %s", netip.PrefixFrom(netip.MustParseAddr(Gateway), 24).Masked(), pool, Gateway)
	}
	line("sites:\n  - name: here\nservers:")
	for _, s := range f.Servers {
		line("  - name: %s\n    site: here\n    stream: %s\n    boot: {}", s.Name, s.Link.Addr)
	}
	line("stores:\n  - name: main\n    site: here\n    servers:")
	for _, s := range f.Servers {
		line("      - name: %s\n        path: %s", s.Name, s.store)
	}
	line("vdisks:\n  - name: %s\n    store: main", VDisk)
	line("policy:\n  unknown: all\n  drain: 5s\ncollections:\n  - name: all\n    login: open\n    vdisks: [%s]\n    boot_shell: %s", VDisk, either(f.Shell))
	for name, value := range map[string]string{"command_line": f.CommandLine, "write_cache": f.WriteCache, "root": f.Root} {
		if value != "" {
			line("    %s: %s", name, value)
		}
	}
	if len(f.Devices) > 0 {
		line("devices:")
	}
	for _, d := range f.Devices {
		line("  - %s", d)
	}
	return b.String()
}

// Start starts all servers and waits until they are ready and answer machines.
func (f *Farm) Start(ctx context.Context) error {
	for _, s := range f.Servers {
		if err := s.Start(); err != nil {
			return err
		}
	}
	for _, s := range f.Servers {
		if err := s.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Ready waits until a server that was started serves, and answers machines: its DHCP service looks for others first.
func (s *Server) Ready(ctx context.Context) error {
	if _, err := s.Await(ctx, "ready"); err != nil {
		return err
	}
	if s.farm.DHCP == farm.DHCPOff {
		return nil
	}
	if _, err := s.Log.Await(ctx, "answering machines"); err != nil {
		return fmt.Errorf("%s answers no machines: %w\n%s", s.Name, err, s.Log)
	}
	return nil
}

// Start starts the server, anew when it has ended.
func (s *Server) Start() (err error) {
	p, err := lab.Spawn{Name: s.Name, Link: s.Link, Args: []string{filepath.Join(s.farm.Bin, "spated"), "--config", s.farm.file, "--server", s.Name,
		"--state", s.state, "--admin-socket", s.admin, "--log-format", "console"}}.Start()
	if err == nil {
		s.Process = p
	}
	return err
}

// Deafen makes the server's computer drop what asks for files, silently, while DHCP goes on: so a server looks to a machine
// that dies between the two. Hear ends it.
func (s *Server) Deafen() error {
	return s.Link.Within(func() error {
		for _, c := range []string{
			"nft add table inet deaf",
			"nft add chain inet deaf in { type filter hook input priority 0 ; }",
			"nft add rule inet deaf in tcp dport 6980 drop", // the farm file names no other port
			"nft add rule inet deaf in udp dport 69 drop",
		} {
			if _, err := command(c); err != nil {
				return err
			}
		}
		return nil
	})
}

// Hear ends Deafen.
func (s *Server) Hear() error {
	return s.Link.Within(func() error {
		_, err := command("nft delete table inet deaf")
		return err
	})
}

// Store is the folder with its copy of the vDisk.
func (s *Server) Store() string { return s.store }

// Spate runs the console against this server.
func (s *Server) Spate(ctx context.Context, args ...string) (string, error) {
	return lab.Run(ctx, append(append([]string{filepath.Join(s.farm.Bin, "spate")}, args...), "--admin", s.admin)...)
}

// Other is a server that s is not.
func (f *Farm) Other(s *Server) *Server {
	return f.Servers[(slices.Index(f.Servers, s)+1)%len(f.Servers)]
}

// Target is what a server knows of a machine; nil when it does not serve it.
func (s *Server) Target(ctx context.Context, mac string) (*farm.TargetInfo, error) {
	out, err := s.Spate(ctx, "target", "list", "--json")
	if err != nil {
		return nil, err
	}
	var list farm.TargetList
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("spate target list: %w\n%s", err, out)
	}
	for _, t := range list.Targets {
		if t.MAC.String() == mac && t.Server == s.Name {
			return &t, nil
		}
	}
	return nil, nil
}

// targetPoll is how often servers are asked whom they serve.
const targetPoll = 100 * time.Millisecond

// Serving waits until one of these servers, or when none are named any server, serves a machine and returns it. Servers
// that do not answer are passed over.
func (f *Farm) Serving(ctx context.Context, mac string, of ...*Server) (*Server, *farm.TargetInfo, error) {
	if len(of) == 0 {
		of = f.Servers
	}
	var last error
	for {
		for _, s := range of {
			if s.Process == nil || !s.Running() {
				continue
			}
			t, err := s.Target(ctx, mac)
			if err != nil {
				last = err
			}
			if t != nil {
				return s, t, nil
			}
		}
		select {
		case <-time.After(targetPoll):
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("no server serves %s: %w", mac, errors.Join(context.Cause(ctx), last))
		}
	}
}

// Said is what the servers have said.
func (f *Farm) Said() string {
	var b strings.Builder
	for _, s := range f.Servers {
		if s.Process != nil {
			fmt.Fprintf(&b, "%s said:\n%s%s\n", s.Name, s.Out, s.Log)
		}
	}
	return b.String()
}

// Close ends the servers.
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
