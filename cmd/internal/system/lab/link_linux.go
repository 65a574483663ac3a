package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Isolated is what a process is started with that has a network of its own: nothing in it but a loopback that is down.
func Isolated() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
}

// NeedLinks says what is missing on this machine for links that can be cut; nil when nothing is.
func NeedLinks() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces are made by root only")
	}
	for tool, pkg := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing; install the Debian package %s", tool, pkg)
		}
	}
	return nil
}

// Bridge is a network in the namespace of this process, which should be one made for it (Isolated): targets live there
// and servers are plugged in.
type Bridge struct {
	dir   string
	links []*Link
}

const (
	bridgeName = "lab0"
	bridgeNet  = "10.177.0."
)

// NewBridge makes the network. Scripts for the packet filter are written into dir.
func NewBridge(dir string) (*Bridge, error) {
	b := &Bridge{dir: dir}
	return b, ip(
		"link set lo up",
		"link add "+bridgeName+" type bridge forward_delay 0 stp_state 0",
		"addr add "+bridgeNet+"1/24 dev "+bridgeName,
		"link set "+bridgeName+" up",
	)
}

// ip runs commands of ip(8) in the namespace of this process.
func ip(commands ...string) error {
	for _, c := range commands {
		if _, err := Run(context.Background(), append([]string{"ip"}, strings.Fields(c)...)...); err != nil {
			return err
		}
	}
	return nil
}

// Link is a veth pair, the far end of which is the only card of a network namespace.
type Link struct {
	Addr   netip.Addr // of the far end
	near   string
	dir    string
	holder *exec.Cmd // keeps the namespace alive
	drops  bool      // between Drop and Pass
}

// Plug makes a namespace and its link.
func (b *Bridge) Plug() (*Link, error) {
	n := len(b.links) + 2
	l := &Link{near: "lab" + strconv.Itoa(n), dir: b.dir, holder: exec.Command("sleep", "infinity")}
	l.Addr = netip.MustParseAddr(bridgeNet + strconv.Itoa(n))
	l.holder.SysProcAttr = Isolated()
	if err := l.holder.Start(); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	b.links = append(b.links, l)
	err := ip(
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", l.near, l.holder.Process.Pid),
		"link set "+l.near+" master "+bridgeName+" up",
	)
	if err != nil {
		return nil, err
	}
	return l, l.within(func() error {
		return ip("link set lo up", "addr add "+l.Addr.String()+"/24 dev eth0", "link set eth0 up")
	})
}

// Close ends the namespaces, and with them their links. Rules of the packet filter go, too: newer kernels (6.18) keep
// those of a card that is gone for the next one of that name.
func (b *Bridge) Close() {
	for _, l := range b.links {
		if l.drops {
			_ = l.Pass() // nobody is left whom it could hurt
		}
		_ = l.holder.Process.Kill()
		_ = l.holder.Wait() // killed, which it says
	}
}

// Within runs f with the calling thread in the namespace of the far end: sockets that f opens and processes that it starts live there.
func (l *Link) Within(f func() error) error { return l.within(f) }

// within runs f with the calling thread in the namespace of the far end: processes that f starts live there.
func (l *Link) within(f func() error) error { return WithinNetworkOf(l.holder.Process.Pid, f) }

// WithinNetworkOf runs f with the calling thread in the network namespace of a process: sockets that f opens and processes that it
// starts live there.
func WithinNetworkOf(pid int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ours, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer ours.Close()
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer theirs.Close()
	if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	err = f()
	if e := unix.Setns(int(ours.Fd()), unix.CLONE_NEWNET); e != nil {
		panic("lab: this thread cannot get back into its network namespace: " + e.Error())
	}
	return err
}

// Down takes the carrier away; Up gives it back.
func (l *Link) Down() error { return ip("link set " + l.near + " down") }

// Up gives the carrier back.
func (l *Link) Up() error { return ip("link set " + l.near + " up") }

// Drop drops every packet in both directions, silently: the sender is told of no error. Pass ends it.
func (l *Link) Drop() error {
	l.drops = true
	return l.filter(`
add table netdev ` + l.near + `
add chain netdev ` + l.near + ` in { type filter hook ingress device ` + l.near + ` priority 0; policy drop; }
add chain netdev ` + l.near + ` out { type filter hook egress device ` + l.near + ` priority 0; policy drop; }
`)
}

// Pass lets packets through again.
func (l *Link) Pass() error {
	l.drops = false
	return l.filter("delete table netdev " + l.near + "\n")
}

func (l *Link) filter(rules string) error {
	file := filepath.Join(l.dir, l.near+".nft")
	if err := os.WriteFile(file, []byte(rules), 0o644); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), filterPatience)
	defer stop()
	_, err := Run(ctx, "nft", "-f", file)
	return err
}

const filterPatience = 10 * time.Second
