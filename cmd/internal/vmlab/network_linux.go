package vmlab

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

const (
	// bridge is what package lab calls its own.
	bridge = "lab0"
	// Gateway is the address of the network on our side; machines and servers are in the same /24.
	Gateway = "10.177.0.1"
	// pool is what DHCP servers of the lab give out. Servers have lower addresses.
	pool = "10.177.0.100-10.177.0.199"
	// capturedBytes of each packet are kept.
	capturedBytes = "400"
	// captured packets are those of booting, and few.
	captured = "arp or icmp or (icmp6 and ip6[40] >= 133 and ip6[40] <= 134) or port 67 or port 68 or port 69 or port 4011"
)

// Network is one Ethernet segment. It is used by one goroutine.
type Network struct {
	*lab.Bridge
	dir      string
	taps     []*Tap
	machines []*Machine
	router   *lab.Process
	capture  *lab.Process
}

// NewNetwork makes the network in the namespace of this process, which Enclose made. Files are put into dir. No router is on it:
// iPXE waits 16 s for one, unless Advertise was called or the farm spares it that. Somebody must call Close, also after an error.
func NewNetwork(dir string) (*Network, error) {
	n := &Network{dir: dir}
	var err error
	if n.Bridge, err = lab.NewBridge(dir); err != nil {
		return n, err
	}
	n.capture, err = lab.Spawn{Name: "capture", Args: []string{"tcpdump", "-i", bridge, "-U", "-Z", "root", "-s", capturedBytes, "-w", n.captureFile(), captured}}.Start()
	return n, err
}

// Advertise adds a router of IPv6 that advertises itself.
func (n *Network) Advertise() (err error) {
	if _, err := command("ip -6 addr add fd77::1/64 dev " + bridge + " nodad"); err != nil {
		return err
	}
	// With --no-daemon dnsmasq leaves its capabilities as they are: a change of them would undo that it dies with us (prctl(2)).
	n.router, err = lab.Spawn{Name: "router", Args: []string{"dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv",
		"--port=0", "--interface=" + bridge, "--bind-interfaces", "--user=root", "--pid-file", "--log-facility=-",
		"--dhcp-leasefile=" + filepath.Join(n.dir, "router.leases"), "--enable-ra", "--dhcp-range=fd77::,ra-only"}}.Start()
	return err
}

func (n *Network) captureFile() string { return filepath.Join(n.dir, "boot.pcap") }

// Packets tells the last packets by which machines found their way: DHCP, TFTP, ARP, ICMP and routers of IPv6.
func (n *Network) Packets(last int) string {
	out, err := lab.Run(context.Background(), "tcpdump", "-nn", "-tttt", "-v", "-r", n.captureFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-last):], "\n")
}

// Plug makes a place for a server. It sends packets as they go over a wire.
func (n *Network) Plug() (*lab.Link, error) {
	l, err := n.Bridge.Plug()
	if err != nil {
		return nil, err
	}
	return l, l.Within(func() error {
		_, err := command("ethtool -K eth0 gso off tso off tx-udp-segmentation off")
		return err
	})
}

// Close switches off all machines and removes the network.
func (n *Network) Close() error {
	var all []error
	for _, m := range n.machines {
		m.Kill()
	}
	for _, p := range []*lab.Process{n.capture, n.router} {
		if p != nil {
			all = append(all, p.End())
		}
	}
	for _, t := range n.taps {
		if t.lossy { // newer kernels (6.18) keep the rules of a card that is gone for the next one of that name
			all = append(all, (&Loss{tap: t}).End())
		}
	}
	if n.Bridge == nil {
		return errors.Join(all...)
	}
	n.Bridge.Close()
	return errors.Join(append(all, removeLinks())...)
}

// removeTries is how often cards are looked for: a list of them can be short of some while others go.
const removeTries = 10

// removeLinks removes the bridge and the cards on it. The pairs go with the namespaces of their far ends, but later: their names must be
// free for the next network.
func removeLinks() error {
	var bad error
	for range removeTries {
		links, err := net.Interfaces()
		if err != nil {
			bad = err
			continue
		}
		left := false
		for _, l := range links {
			if !strings.HasPrefix(l.Name, "lab") {
				continue
			}
			left = true
			if _, err := command("ip link del " + l.Name); err != nil {
				bad = err // of one that has gone by itself it is not returned
			}
		}
		if !left {
			return nil
		}
	}
	return errors.Join(errors.New("cards of the network are left"), bad)
}

// command runs a command whose words have no spaces.
func command(line string) (string, error) {
	return lab.Run(context.Background(), strings.Fields(line)...)
}
