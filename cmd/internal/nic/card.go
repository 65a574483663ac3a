package nic

import (
	"fmt"
	"slices"
	"strings"
)

// card is a network interface as the kernel shows it.
type card struct {
	index     int
	name      string
	mac       string // now; permanent is what it was made with, which PXE used
	permanent string
	kind      string // "device" for hardware; vlan, bond, bridge, veth…
	driver    string // of its hardware; empty when there is none
	ethernet  bool
	up        bool
	carrier   bool
	master    int // index of the bond or bridge that it belongs to, or 0
	mtu       int // bytes
}

// stacked are kinds of interfaces that borrow the MAC address of a card.
var stacked = []string{"vlan", "bond", "team", "bridge", "macvlan", "macvtap", "ipvlan", "ipvtap", "dummy", "ifb", "tun", "vxlan"}

// hardware are the interfaces that can be the one that PXE used: Ethernet, and not on top of another one.
func hardware(all []card) (out []card) {
	for _, c := range all {
		if c.ethernet && !slices.Contains(stacked, c.kind) {
			out = append(out, c)
		}
	}
	// With equal MAC addresses, real hardware comes first.
	slices.SortStableFunc(out, func(a, b card) int {
		switch {
		case (a.driver != "") == (b.driver != ""):
			return a.index - b.index
		case a.driver != "":
			return -1
		}
		return 1
	})
	return out
}

// choose finds the cards to try, in this order. When there is none, why says what there is instead.
func choose(all []card, w Want) (cards []card, why string) {
	real := hardware(all)
	for _, c := range real {
		switch {
		case w.Static.Device != "":
			if c.name == w.Static.Device {
				return []card{c}, ""
			}
		case w.Card != nil:
			if m := w.Card.String(); c.mac == m || c.permanent == m {
				return []card{c}, ""
			}
		case c.carrier:
			cards = append(cards, c)
		}
	}
	if len(cards) > 0 {
		return cards, ""
	}
	var there []string
	for _, c := range real {
		there = append(there, c.String())
	}
	list := strings.Join(there, ", ")
	switch {
	case len(there) == 0:
		list = "there is no network card at all: its driver may be missing in the boot image"
	case w.Static.Device == "" && w.Card == nil:
		return nil, "no network card has a link; is the cable plugged in? There are: " + list
	default:
		list = "there are: " + list
	}
	switch {
	case w.Static.Device != "":
		return nil, fmt.Sprintf("no card is called %s (ip= on the kernel command line); %s", w.Static.Device, list)
	case w.Card != nil:
		return nil, fmt.Sprintf("no card with MAC address %s (BOOTIF= on the kernel command line); %s", w.Card, list)
	}
	return nil, list
}

// String is a card as a person knows it.
func (c card) String() string {
	s := c.name + " " + c.mac
	if c.driver != "" {
		s += " (driver " + c.driver + ")"
	}
	return s
}
