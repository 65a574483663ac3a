package nic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The messages of rtnetlink(7): a head of fixed form, then attributes. Only what this package needs is read and written. Libraries
// that know them all are left out: a machine that boots gets the program over the network, and whatever runs for the first time is
// slow there; the smaller ones do not tell the permanent address either.

var (
	errShort   = errors.New("a message of the kernel is too short")
	errChanges = errors.New("it changes faster than it can be listed")
)

// ask sends a request and returns what the kernel answers; an error of the kernel wraps its number.
func ask(kind uint16, flags netlink.HeaderFlags, head []byte, fill func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	e := netlink.NewAttributeEncoder()
	if fill != nil {
		fill(e)
	}
	body, err := e.Encode()
	if err != nil {
		return nil, err
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
		Data:   append(head, body...),
	})
}

// list asks for all of a kind, and keeps what parse says is wanted. A list during which something has changed may be short of some
// that were there all the time: it is asked for again.
func list[T any](kind uint16, head []byte, parse func([]byte) (T, bool, error)) ([]T, error) {
	for range listTries {
		messages, err := ask(kind, netlink.Dump, head, nil)
		interrupted := errors.Is(err, unix.EINTR)
		if err != nil && !interrupted {
			return nil, err
		}
		out := make([]T, 0, len(messages))
		for _, m := range messages {
			interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
			v, wanted, err := parse(m.Data)
			if err != nil {
				return nil, err
			}
			if wanted {
				out = append(out, v)
			}
		}
		if !interrupted {
			return out, nil
		}
	}
	return nil, errChanges
}

// attributes calls each for every attribute.
func attributes(b []byte, each func(*netlink.AttributeDecoder)) error {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for d.Next() {
		each(d)
	}
	return d.Err()
}

// parseLink reads a card: struct ifinfomsg and its attributes. Every card is wanted. Its driver is not in there.
func parseLink(b []byte) (c card, wanted bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return c, false, errShort
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	c = card{
		index: int(int32(binary.NativeEndian.Uint32(b[4:]))), kind: "device",
		up: flags&unix.IFF_UP != 0, carrier: flags&unix.IFF_LOWER_UP != 0,
	}
	err = attributes(b[unix.SizeofIfInfomsg:], func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case unix.IFLA_IFNAME:
			c.name = d.String()
		case unix.IFLA_ADDRESS:
			c.mac = hardwareAddress(d.Bytes())
			c.ethernet = binary.NativeEndian.Uint16(b[2:]) == unix.ARPHRD_ETHER && len(c.mac) == len("00:00:00:00:00:00")
		case unix.IFLA_PERM_ADDRESS:
			c.permanent = hardwareAddress(d.Bytes())
		case unix.IFLA_MTU:
			c.mtu = int(d.Uint32())
		case unix.IFLA_MASTER:
			c.master = int(d.Uint32())
		case unix.IFLA_LINKINFO:
			d.Nested(func(info *netlink.AttributeDecoder) error {
				for info.Next() {
					if info.Type() == unix.IFLA_INFO_KIND {
						c.kind = info.String()
						break
					}
				}
				return nil
			})
		}
	})
	return c, err == nil, err
}

// hardwareAddress is a MAC address as text. Zeros are none.
func hardwareAddress(b []byte) string {
	for _, v := range b {
		if v != 0 {
			return net.HardwareAddr(b).String()
		}
	}
	return ""
}

// parseAddress reads an address: struct ifaddrmsg and its attributes. Wanted are those of IPv4 that are not for the machine or the
// network alone.
func parseAddress(b []byte) (a ifAddr, wanted bool, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a, false, errShort
	}
	family, bits, flags, scope := b[0], int(b[1]), b[2], b[3]
	var local, far netip.Addr // not valid where the kernel says none, or one of another length
	err = attributes(b[unix.SizeofIfAddrmsg:], func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(d.Bytes()) // one of another length is not valid, which is looked at below
		case unix.IFA_ADDRESS:
			far, _ = netip.AddrFromSlice(d.Bytes()) // not valid when of another length, as the local one
		}
	})
	switch {
	case !local.IsValid():
		local = far
	case local != far:
		bits = local.BitLen() // of a pair of two machines: the network is the other one's
	}
	a = ifAddr{index: int(binary.NativeEndian.Uint32(b[4:])), prefix: netip.PrefixFrom(local, bits), finite: flags&unix.IFA_F_PERMANENT == 0}
	return a, err == nil && family == unix.AF_INET && scope == unix.RT_SCOPE_UNIVERSE, err
}

// parseRoute reads a route: struct rtmsg and its attributes. Wanted are those of IPv4 in the main table.
func parseRoute(b []byte) (r ifRoute, wanted bool, err error) {
	if len(b) < unix.SizeofRtMsg {
		return r, false, errShort
	}
	family, bits, table, flags := b[0], int(b[1]), b[4], binary.NativeEndian.Uint32(b[8:])
	to := netip.IPv4Unspecified()
	err = attributes(b[unix.SizeofRtMsg:], func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case unix.RTA_OIF:
			r.index = int(d.Uint32())
		case unix.RTA_DST:
			to, _ = netip.AddrFromSlice(d.Bytes()) // one of another length is not valid, and no route that is looked for
		case unix.RTA_GATEWAY:
			r.via, _ = netip.AddrFromSlice(d.Bytes()) // one of another length is not valid, which means directly on the card
		}
	})
	r.to = netip.PrefixFrom(to, bits)
	return r, err == nil && family == unix.AF_INET && table == unix.RT_TABLE_MAIN && flags&unix.RTM_F_CLONED == 0, err
}

// linkHead is a struct ifinfomsg that sets flags, if any.
func linkHead(index int, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], flags) // which of them change
	return b
}

func setUp(index int) error {
	_, err := ask(unix.RTM_NEWLINK, netlink.Acknowledge, linkHead(index, unix.IFF_UP), nil)
	return err
}

func setMTU(index, mtu int) error {
	_, err := ask(unix.RTM_NEWLINK, netlink.Acknowledge, linkHead(index, 0), func(e *netlink.AttributeEncoder) { e.Uint32(unix.IFLA_MTU, uint32(mtu)) })
	return err
}

// oneLink asks for one card.
func oneLink(index int) (card, error) {
	messages, err := ask(unix.RTM_GETLINK, 0, linkHead(index, 0), nil)
	if err != nil {
		return card{}, err
	}
	if len(messages) != 1 {
		return card{}, fmt.Errorf("%d answers about one network card", len(messages))
	}
	c, _, err := parseLink(messages[0].Data)
	return c, err
}

// changeAddress sets (RTM_NEWADDR) or removes (RTM_DELADDR) an address. Without a struct ifa_cacheinfo it lives for ever.
func changeAddress(kind uint16, flags netlink.HeaderFlags, index int, p netip.Prefix) error {
	if !p.Addr().Is4() {
		return unix.EAFNOSUPPORT
	}
	head := []byte{unix.AF_INET, byte(p.Bits()), 0, unix.RT_SCOPE_UNIVERSE, 0, 0, 0, 0}
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	_, err := ask(kind, netlink.Acknowledge|flags, head, func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
		e.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
		if p.Bits() < 31 { // RFC 3021: a network of two has none
			e.Bytes(unix.IFA_BROADCAST, broadcast(p).AsSlice())
		}
	})
	return err
}

// replaceRoute sets a route in place of another one to the same network. It is through a gateway, wherever that is, or without one
// for what is on the card's own network.
func replaceRoute(index int, to netip.Prefix, via netip.Addr) error {
	if !to.Addr().Is4() {
		return unix.EAFNOSUPPORT
	}
	scope, flags := byte(unix.RT_SCOPE_LINK), uint32(0)
	if via.IsValid() {
		scope, flags = unix.RT_SCOPE_UNIVERSE, unix.RTNH_F_ONLINK
	}
	head := []byte{unix.AF_INET, byte(to.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, scope, unix.RTN_UNICAST, 0, 0, 0, 0}
	binary.NativeEndian.PutUint32(head[8:], flags)
	_, err := ask(unix.RTM_NEWROUTE, netlink.Acknowledge|netlink.Create|netlink.Replace, head, func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.RTA_DST, to.Addr().AsSlice())
		if via.IsValid() {
			e.Bytes(unix.RTA_GATEWAY, via.AsSlice())
		}
		e.Uint32(unix.RTA_OIF, uint32(index))
	})
	return err
}
