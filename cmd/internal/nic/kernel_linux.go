package nic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/mdlayher/netlink"
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
	all, err := list(unix.RTM_GETLINK, linkHead(0, 0), parseLink)
	if err != nil {
		return nil, fmt.Errorf("list network cards: %w", err)
	}
	for i, c := range all {
		if driver, err := os.Readlink(filepath.Join("/sys/class/net", c.name, "device", "driver")); err == nil {
			all[i].driver = filepath.Base(driver)
		}
	}
	return all, nil
}

// linked tells whether a card has a link.
func linked(index int) bool {
	c, err := oneLink(index)
	return err == nil && c.carrier
}

// apply gives a card what its lease says. Everything is tried; the address is what must succeed.
func apply(l Lease, resolv string) error {
	if err := setUp(l.Index); err != nil {
		return fmt.Errorf("%s: set up: %w", l.Name, err)
	}
	if err := changeAddress(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, l.Index, l.Address); err != nil {
		return fmt.Errorf("%s: set address %s: %w", l.Name, l.Address, err)
	}
	errs := []error{applyRoutes(l)}
	if l.Hostname != "" {
		_ = unix.Sethostname([]byte(l.Hostname)) // a name is no reason to stop
	}
	if content := l.resolvConf(); resolv != "" && content != nil {
		errs = append(errs, write(resolv, content, 0o644))
	}
	return errors.Join(errs...)
}

// applyRoutes gives a card that has its address the routes of its lease, and the MTU.
func applyRoutes(l Lease) error {
	if l.MTU > 0 {
		if c, err := oneLink(l.Index); err == nil && c.mtu > l.MTU {
			_ = setMTU(l.Index, l.MTU) // a card that cannot keeps its own
		}
	}
	var errs []error
	for _, r := range l.Routes {
		errs = append(errs, route(l.Index, r))
	}
	if l.Router.IsValid() {
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		errs = append(errs, route(l.Index, Route{To: all, Via: l.Router}))
	}
	return errors.Join(errs...)
}

// route sets a route. Its gateway need not lie in the network of the address: networks of providers have it outside.
func route(index int, r Route) error {
	if err := replaceRoute(index, r.To, r.Via); err != nil && !errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("set route to %s: %w", r.To, err)
	}
	return nil
}

// withdraw removes an address.
func withdraw(index int, p netip.Prefix) {
	_ = changeAddress(unix.RTM_DELADDR, 0, index, p) // it is gone or it stays; a second address does no harm
}

// look reads what the kernel has.
func look() (s state, err error) {
	if s.cards, err = cards(); err != nil {
		return s, err
	}
	if s.addrs, err = list(unix.RTM_GETADDR, []byte{unix.AF_INET, unix.SizeofIfAddrmsg - 1: 0}, parseAddress); err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	if s.routes, err = list(unix.RTM_GETROUTE, []byte{unix.AF_INET, unix.SizeofRtMsg - 1: 0}, parseRoute); err != nil {
		return s, fmt.Errorf("list routes: %w", err)
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
