package bootimage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spate-project/spate/bootsvc/parts"
	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// commonCards are the drivers of cards that most machines and virtual machines boot with, and of what they are wired with: those
// of StandardCards and of Options.Cards that go into the first part. They are small, and their cards are no server's second card.
func commonCards() []string {
	return []string{
		"virtio_net", "virtio_pci", "virtio_mmio", "virtio_rng", "vmxnet3",
		"e1000", "e1000e", "igb", "igc", "8139cp", "8139too", "r8169", "realtek",
	}
}

// Parts says how an image is divided.
type Parts struct {
	// First and Second are the sizes of both parts in the file, in bytes; First has the head too.
	First, Second int64
	// Cards is how many kinds of cards, and vendors, need the first part only.
	Cards int
	// Contested are drivers of the second part that take cards which one of the first takes too: these need the whole.
	Contested []string
}

// first gives the modules of the first part: what is always loaded, file systems but for overlay, which few roots want, common cards,
// and what was asked for and drives no network card, with all that these need or want.
func (p *picker) first() map[string]bool {
	in := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		m := p.found[name]
		if m == nil || in[name] {
			return
		}
		in[name] = true
		for _, n := range slices.Concat(m.before, m.info.depends, m.after) {
			visit(n)
		}
	}
	for _, name := range slices.Concat(p.base, p.systems, commonCards()) {
		if name != overlay {
			visit(name)
		}
	}
	for _, name := range p.more {
		if !strings.HasPrefix(p.x.files[name], network) {
			visit(name)
		}
	}
	return in
}

// anyPCI is how the kernel writes a network card on PCI, with a question mark for each digit that is not said: class 02 are
// network cards.
const anyPCI = "pci:v0000%sd0000%ssv????????sd????????bc02sc??i??"

// head says which cards the modules in first drive, and no other one. Cards of which only some are driven, by class or by the
// maker of the board, are not among them.
func (p *picker) head(first map[string]bool) (h parts.Head, contested []string) {
	var others []modules.Alias
	for _, name := range sorted(p.found) {
		for _, a := range p.found[name].info.aliases {
			if !first[name] && strings.HasPrefix(a, "pci:") {
				others = append(others, modules.Alias{Pattern: a, Name: name})
			}
		}
	}
	free := func(vendor, device string) bool {
		card, ok := fmt.Sprintf(anyPCI, vendor, device), true
		for _, o := range others {
			if modules.Overlaps(o.Pattern, card) {
				ok = false
				contested = append(contested, o.Name)
			}
		}
		return ok
	}
	for _, alias := range p.cards() {
		vendor, device, ok := cardOf(alias)
		switch {
		case !ok || !free(vendor, device):
		case device == anyDevice:
			h.Vendors = append(h.Vendors, number(vendor))
		default:
			h.Cards = append(h.Cards, parts.Card{Vendor: number(vendor), Device: number(device)})
		}
	}
	h.Sort()
	slices.Sort(contested)
	return h, slices.Compact(contested)
}

// cards are the aliases of the common cards that can be driven, by modules or by what is built into the kernel.
func (p *picker) cards() (aliases []string) {
	for _, name := range commonCards() {
		if m := p.found[name]; m != nil {
			aliases = append(aliases, m.info.aliases...)
		}
		if slices.Contains(p.builtIn, name) {
			aliases = append(aliases, p.x.builtInAliases[name]...)
		}
	}
	return aliases
}

// anyDevice is the device of an alias for all of a vendor.
const anyDevice = "????"

// cardOf takes an alias such as pci:v00008086d0000100Esv*sd*bc*sc*i* apart. Not ok: it is none of all cards of that number.
func cardOf(alias string) (vendor, device string, ok bool) {
	alias, pci := strings.CutPrefix(alias, "pci:v0000")
	alias, whole := strings.CutSuffix(alias, "sv*sd*bc*sc*i*")
	vendor, device, _ = strings.Cut(alias, "d") // without one there is no device, which is no number
	if device == "*" {
		return vendor, anyDevice, pci && whole && hexadecimal(vendor)
	}
	device, short := strings.CutPrefix(device, "0000")
	return vendor, device, pci && whole && short && hexadecimal(vendor) && hexadecimal(device)
}

func hexadecimal(s string) bool { return len(s) == 4 && strings.Trim(s, "0123456789ABCDEF") == "" }

// number reads four hexadecimal digits.
func number(s string) uint16 {
	n, _ := strconv.ParseUint(s, 16, 16) // looked at before
	return uint16(n)
}

// divided is an image in its parts. Without a head there is one.
type divided struct {
	head          *parts.Head
	first, second contents
}

// divide decides whether the image has parts, and which modules are in the first one.
func (d *divided) divide(p *picker, r *Report) (first map[string]bool) {
	first = p.first()
	head, contested := p.head(first)
	switch {
	case len(first) == len(p.found):
		r.Whole = "a machine with a common card needs all of it"
		return first
	case len(head.Cards)+len(head.Vendors) == 0 && len(contested) == 0:
		r.Whole = "there is no driver of a common card in it"
		return first
	case len(head.Cards)+len(head.Vendors) == 0:
		r.Whole = "drivers of other cards take all common cards too: " + strings.Join(contested, ", ")
		return first
	}
	head.First = 4 // not known yet, and no length
	d.head = &head
	r.Parts = &Parts{Cards: len(head.Cards) + len(head.Vendors), Contested: contested}
	return first
}

// part is the number of the part that something goes into.
func (d divided) part(first bool) int {
	if first || d.head == nil {
		return 1
	}
	return 2
}

func (d divided) contents(part int) contents {
	if part == 2 {
		return d.second
	}
	return d.first
}

// entries gives what is in the image, in its order.
func (d divided) entries() ([]Entry, error) {
	all := slices.Concat(d.first.entries(), d.second.entries())
	if d.head == nil {
		return all, nil
	}
	b, err := d.head.Bytes()
	if err != nil {
		return nil, err
	}
	head, _, err := Show(bytes.NewReader(b))
	return slices.Concat(head, all), err
}

// once leaves out of the second part what the first one has, but for the list of modules: what was added counts most.
func (d divided) once() {
	for name, i := range d.first {
		if i.Mode&typeMask != typeFolder && "/"+name != modules.File {
			delete(d.second, name)
		}
	}
}

// write writes the image and says how long it is unpacked.
func (d divided) write(ctx context.Context, w io.Writer, plain bool, r *Report, done func(bytes int64)) error {
	if d.head == nil {
		n, err := d.first.write(ctx, w, plain, done)
		r.Unpacked = n
		return err
	}
	// The head comes before what it tells the length of. The contents are in memory anyway.
	var first bytes.Buffer
	unpacked, err := d.first.write(ctx, &first, plain, done)
	if err != nil {
		return err
	}
	// What is not packed begins at a multiple of four bytes, and zeros may stand before it.
	first.Write(make([]byte, -first.Len()&3))
	head, err := d.head.Bytes()
	if err != nil {
		return err
	}
	d.head.First = int64(len(head) + first.Len())
	if head, err = d.head.Bytes(); err != nil {
		return err
	}
	if _, err := w.Write(slices.Concat(head, first.Bytes())); err != nil {
		return err
	}
	more, err := d.second.write(ctx, w, plain, func(n int64) { done(unpacked + n) })
	r.Unpacked, r.Parts.First = int64(len(head))+unpacked+more, d.head.First
	return err
}
