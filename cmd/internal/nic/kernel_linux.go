package nic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// now is the time since the kernel's start, a suspended machine's included.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // every kernel since 2.6.39 has it
	}
	return time.Duration(t.Nano())
}

// cards lists the network interfaces.
func cards() ([]card, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list network cards: %w", err)
	}
	out := make([]card, 0, len(links))
	for _, l := range links {
		a := l.Attrs()
		c := card{
			index: a.Index, name: a.Name, mac: a.HardwareAddr.String(), permanent: a.PermHWAddr.String(), kind: l.Type(),
			ethernet: a.EncapType == "ether" && len(a.HardwareAddr) == 6,
			up:       a.RawFlags&unix.IFF_UP != 0, carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, master: a.MasterIndex,
		}
		if driver, err := os.Readlink(filepath.Join("/sys/class/net", a.Name, "device", "driver")); err == nil {
			c.driver = filepath.Base(driver)
		}
		out = append(out, c)
	}
	return out, nil
}

func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func setUp(index int) error { return netlink.LinkSetUp(byIndex(index)) }

// linked tells whether a card has a link.
func linked(index int) bool {
	l, err := netlink.LinkByIndex(index)
	return err == nil && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
}

// apply gives a card what its lease says. Everything is tried; the address is what must succeed.
func apply(l Lease, resolv string) error {
	if err := setUp(l.Index); err != nil {
		return fmt.Errorf("%s: set up: %w", l.Name, err)
	}
	if l.MTU > 0 {
		if link, err := netlink.LinkByIndex(l.Index); err == nil && link.Attrs().MTU > l.MTU {
			_ = netlink.LinkSetMTU(link, l.MTU) // a card that cannot keeps its own
		}
	}
	// Without ValidLft the address lives for ever.
	if err := netlink.AddrReplace(byIndex(l.Index), &netlink.Addr{IPNet: network(l.Address)}); err != nil {
		return fmt.Errorf("%s: set address %s: %w", l.Name, l.Address, err)
	}
	var errs []error
	for _, r := range l.Routes {
		errs = append(errs, route(l.Index, r))
	}
	if l.Router.IsValid() {
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		errs = append(errs, route(l.Index, Route{To: all, Via: l.Router}))
	}
	if l.Hostname != "" {
		_ = unix.Sethostname([]byte(l.Hostname)) // a name is no reason to stop
	}
	if content := l.resolvConf(); resolv != "" && content != nil {
		errs = append(errs, write(resolv, content, 0o644))
	}
	return errors.Join(errs...)
}

// route sets a route. Its gateway need not lie in the network of the address: networks of providers have it outside.
func route(index int, r Route) error {
	n := &netlink.Route{LinkIndex: index, Dst: network(r.To)}
	if r.Via.IsValid() {
		n.Gw, n.Flags = r.Via.AsSlice(), int(netlink.FLAG_ONLINK)
	} else {
		n.Scope = netlink.SCOPE_LINK
	}
	if err := netlink.RouteReplace(n); err != nil && !errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("set route to %s: %w", r.To, err)
	}
	return nil
}

// withdraw removes an address.
func withdraw(index int, p netip.Prefix) {
	// It is gone or it stays; a second address does no harm.
	_ = netlink.AddrDel(byIndex(index), &netlink.Addr{IPNet: network(p)})
}

func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

// look reads what the kernel has.
func look() (s state, err error) {
	if s.cards, err = cards(); err != nil {
		return s, err
	}
	addrs, err := netlink.AddrList(nil, unix.AF_INET)
	if err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.Scope == int(netlink.SCOPE_UNIVERSE) {
			s.addrs = append(s.addrs, ifAddr{index: a.LinkIndex, prefix: prefix(a.IPNet), finite: a.Flags&unix.IFA_F_PERMANENT == 0})
		}
	}
	routes, err := netlink.RouteList(nil, unix.AF_INET)
	if err != nil {
		return s, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		via, _ := netip.AddrFromSlice(r.Gw)
		s.routes = append(s.routes, ifRoute{index: r.LinkIndex, to: prefix(r.Dst), via: via.Unmap()})
	}
	return s, nil
}

// watch sends on the returned channel whenever anything about cards, addresses or routes has changed, until ctx ends.
// What has changed must be read anew: a message that is lost costs nothing then.
func watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch network: %w", err)
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch network: %w", err)
	}
	file := os.NewFile(uintptr(fd), "rtnetlink")
	context.AfterFunc(ctx, func() { file.Close() })
	changed := make(chan struct{}, 1)
	// Ends with the socket, which ctx closes; nobody waits for it.
	go func() {
		b := make([]byte, mostPacket)
		for {
			if _, err := file.Read(b); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed, nil
}
