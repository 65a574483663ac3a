package farm

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spate-project/spate/loadbalance"
	"github.com/spate-project/spate/stream/wire"
)

// ask is what a target wants.
type ask struct {
	mac   MAC
	key   DeviceKey
	addr  netip.Addr
	vdisk Wanted // zero: what is assigned to the device
	// content is what a target uses already, nil at its first log-in. resume tells that a ticket of this farm
	// says so, which was given to a target that was allowed.
	content *Content
	resume  bool
	// reconnect tells that the target was served until a moment ago.
	reconnect bool
	current   string // the server that serves it now, if known
	avoid     []string
}

// outcome is what became of an ask.
type outcome struct {
	result   wire.Result // ResultAccept stands for "somebody serves it"; who, is in choice
	code     wire.Code
	sentence string

	device     Device // Name is the MAC address when the device is unknown
	known      bool
	collection Collection
	vdisk      VDisk
	version    Replica // the one to serve, as the reference holder has it
	why        string  // why this version
	choice     loadbalance.Choice
}

func (o outcome) refuse(r wire.Result, c wire.Code, format string, args ...any) outcome {
	o.result, o.code, o.sentence = r, c, fmt.Sprintf(format, args...)
	return o
}

// label is the vDisk and version as people write it.
func (o outcome) label() string { return fmt.Sprintf("%s @ %d", o.vdisk.Name, o.version.Number) }

// decide answers a log-in or a resumption. What passes by itself is busy, what an administrator must change
// is denied.
func (v view) decide(a ask) outcome {
	o, ok := v.identify(a)
	if !ok {
		return o
	}
	if o, ok = v.version(a, o); !ok {
		return o
	}
	o.choice = v.ranked(a, o)
	if _, ok := o.choice.Server(); !ok {
		return v.nobody(o)
	}
	o.result = wire.ResultAccept
	return o
}

// ranked is who serves a target whose vDisk and version are known, and who else might.
func (v view) ranked(a ask, o outcome) loadbalance.Choice {
	target := loadbalance.Target{
		ID: o.device.MAC.String(), Zone: v.zoneOf(o), Addr: a.addr, Current: a.current, Reconnect: a.reconnect || a.resume, Avoid: a.avoid,
	}
	return loadbalance.Choose(o.collection.policy(o.label()), target, v.candidates(o.vdisk, o.version))
}

// identify finds device and collection, and whether the device may log in at all.
func (v view) identify(a ask) (outcome, bool) {
	o := outcome{device: Device{Name: a.mac.String(), MAC: a.mac, Collection: v.config.Unknown}}
	if !a.mac.single() && !a.resume {
		return o.refuse(wire.ResultDeny, wire.CodeUnknownDevice, "%s is the MAC address of a group or of nobody; name this device with --mac.", a.mac), false
	}
	if d := v.config.Device(a.mac); d != nil {
		o.device, o.known = *d, true
	}
	c := v.config.Collection(o.device.Collection)
	switch {
	case c != nil:
		o.collection = *c
	case a.resume:
		// A device that has left the farm file keeps its session until it ends.
		o.collection = Collection{Affinity: AffinityNone}
	default:
		return o.refuse(wire.ResultDeny, wire.CodeUnknownDevice,
			"Device %s is not known to farm %s; an administrator can add it to the farm file.", a.mac, v.config.Name), false
	}
	if a.resume {
		return o, true
	}
	switch {
	case o.device.Disabled:
		return o.refuse(wire.ResultDeny, wire.CodeDisabled, "Device %s is disabled in the farm file; an administrator can enable it there.", o.device.Name), false
	case o.device.Key != nil && *o.device.Key != a.key:
		return o.refuse(wire.ResultDeny, wire.CodeWrongKey,
			"Device %s logged in with key %s, which is not the one registered for it; if the device is right, put its key into the farm file.", o.device.Name, a.key), false
	case o.collection.Login == LoginKey && o.device.Key == nil:
		return o.refuse(wire.ResultDeny, wire.CodeKeyNeeded,
			"Collection %s wants registered device keys; the key of %s is %s, and can be put into the farm file.", o.collection.Name, o.device.Name, a.key), false
	}
	return o, true
}

// version finds the vDisk and the version that the target gets.
func (v view) version(a ask, o outcome) (outcome, bool) {
	if a.content != nil {
		d, r, ok := v.byContent(*a.content)
		if ok && (a.resume || v.config.Open || v.offers(o, Wanted{Name: d.Name})) {
			o.vdisk, o.version, o.why = d, r, "the target uses this content already"
			return o, true
		}
		if a.resume {
			return o.refuse(wire.ResultDeny, wire.CodeContentChanged,
				"No server of farm %s holds the content %s that this target uses.", v.config.Name, a.content.Root.Short()), false
		}
	}
	want, refusal, ok := v.wanted(a, o)
	if !ok {
		return refusal, false
	}
	d, ok := v.vdisk(want.Name)
	if !ok {
		return o.refuse(wire.ResultDeny, wire.CodeUnknownVDisk, "No vDisk called %s is known to farm %s.", want.Name, v.config.Name), false
	}
	o.vdisk = d
	holders := v.holders(d)
	if want.Fixed {
		r, ok := reference(holders, want.Number)
		if !ok {
			return o.refuse(wire.ResultDeny, wire.CodeUnknownVDisk, "No live server holds version %d of vDisk %s; spate vdisk list shows those that are there.", want.Number, want.Name), false
		}
		o.version, o.why = r, fmt.Sprintf("version %d is asked for", want.Number)
		return o, true
	}
	offer := offered(holders)
	if !offer.Found {
		return o.refuse(wire.ResultBusy, wire.CodeNoServer, "No live server holds vDisk %s%s; start a server that has it, or copy its file into a store.", want.Name, lacking(offer.Lacking)), false
	}
	o.version, _ = reference(holders, offer.Number)
	o.why = offer.why()
	return o, true
}

// wanted says which vDisk the target gets: what it asks for, if that is offered to it, or what is assigned.
func (v view) wanted(a ask, o outcome) (Wanted, outcome, bool) {
	switch {
	case a.vdisk.Name != "" && !v.config.Open && !v.offers(o, a.vdisk):
		return Wanted{}, o.refuse(wire.ResultDeny, wire.CodeUnknownVDisk, "vDisk %s is not offered to device %s; offered: %s.",
			a.vdisk, o.device.Name, names(o.offered())), false
	case a.vdisk.Name != "":
		return a.vdisk, o, true
	case len(o.offered()) > 0:
		return o.offered()[0], o, true
	case v.config.Open:
		if all := v.vdisks(); len(all) == 1 {
			return Wanted{Name: all[0].Name}, o, true
		}
		return Wanted{}, o.refuse(wire.ResultDeny, wire.CodeNoVDisk, "The log-in names no vDisk; name one with --vdisk."), false
	default:
		return Wanted{}, o.refuse(wire.ResultDeny, wire.CodeNoVDisk, "No vDisk is assigned to device %s; an administrator can assign one in the farm file.", o.device.Name), false
	}
}

// offered lists what a device may attach, the first being what it gets.
func (o outcome) offered() []Wanted {
	own := o.device.VDisks
	if o.device.VDisk.Name != "" {
		own = []Wanted{o.device.VDisk}
	}
	return slices.Concat(own, o.collection.VDisks)
}

// offers tells whether a vDisk is offered to the device: under the same version, or any when none is fixed.
func (v view) offers(o outcome, w Wanted) bool {
	return slices.ContainsFunc(o.offered(), func(x Wanted) bool {
		return x.Name == w.Name && (!x.Fixed || !w.Fixed || x.Number == w.Number)
	})
}

// nobody says why no server can serve, and whether that may pass by itself.
func (v view) nobody(o outcome) outcome {
	full := len(o.choice.Verdicts) > 0
	var reasons []string
	for _, x := range o.choice.Verdicts {
		full = full && x.Full
		reasons = append(reasons, x.Server+": "+strings.TrimPrefix(x.Reason, "not eligible: "))
	}
	code := wire.CodeNoServer
	if full {
		code = wire.CodeTooMany
	}
	return o.refuse(wire.ResultBusy, code, "No server can serve %s now (%s).", o.label(), strings.Join(reasons, "; "))
}

// why says why this version stands for the plain name.
func (o Offer) why() string {
	if !o.Whole {
		return fmt.Sprintf("no version is on every live server; version %d is the highest that any holds%s", o.Number, lacking(o.Lacking))
	}
	words := fmt.Sprintf("version %d is the highest that every live server holds identically", o.Number)
	for _, p := range o.Pending {
		words += fmt.Sprintf("; version %d is pending%s", p.Number, lacking(p.Lacking))
	}
	return words
}

// lacking lists what servers lack, in parentheses after a space; empty when there is nothing to list.
func lacking(all []Lack) string {
	if len(all) == 0 {
		return ""
	}
	words := make([]string, len(all))
	for i, l := range all {
		words[i] = l.Server + ": " + l.Why
	}
	return " (" + strings.Join(words, ", ") + ")"
}

func names(all []Wanted) string {
	words := make([]string, len(all))
	for i := range all {
		words[i] = all[i].String()
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
