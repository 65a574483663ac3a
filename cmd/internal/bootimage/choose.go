package bootimage

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// StandardFileSystems are those that a boot image can mount when nothing else is said, as far as the kernel has them.
func StandardFileSystems() []string { return []string{"ext4", "xfs", "btrfs", "squashfs", "erofs"} }

// StandardCards are the drivers of network cards, and of what they are behind, that a boot image has when nothing else is
// said, as far as the kernel has them.
func StandardCards() []string {
	return []string{
		// virtual machines
		"virtio_net", "virtio_pci", "virtio_mmio", "virtio_rng", "vmxnet3", "hv_netvsc", "hv_vmbus", "pci_hyperv", "ena", "gve", "xen_netfront",
		// PCI
		"e1000", "e1000e", "igb", "igc", "ixgbe", "ixgbevf", "i40e", "iavf", "ice", "8139cp", "8139too", "r8169", "tg3", "bnx2", "bnx2x", "bnxt_en",
		"mlx4_core", "mlx4_en", "mlx5_core", "atlantic", "alx", "atl1c", "sky2", "skge", "forcedeth", "jme", "via_velocity", "be2net", "sfc", "qede",
		// USB
		"xhci_pci", "ehci_pci", "ohci_pci", "uhci_hcd", "r8152", "ax88179_178a", "asix", "cdc_ether", "cdc_ncm", "smsc95xx", "lan78xx",
		// what such a card is wired with
		"realtek", "broadcom", "marvell", "at803x", "smsc", "micrel", "microchip", "aquantia", "motorcomm", "ax88796b",
		// a keyboard, for the shell on the console
		"usbhid", "hid_generic",
	}
}

// companions are modules that others ask the kernel for, by no alias and no dependency.
var companions = map[string][]string{"mlx4_core": {"mlx4_en"}}

// always are the modules that each machine loads.
var always = []string{"nbd", "af_packet"}

// overlay is loaded where the command line asks for it: 40 ms of the boot of an emulated machine.
const overlay = "overlay"

// network is the folder of all that has to do with networks, ethernet that of network cards.
const (
	network  = "kernel/drivers/net/"
	ethernet = network + "ethernet/"
)

// picked is a module that goes into the image.
type picked struct {
	content []byte
	info    modinfo
	before  []string // soft needs
	after   []string
	group   string
}

// picker gathers modules and what they need.
type picker struct {
	x       *index
	found   map[string]*picked
	base    []string
	systems []string
	more    []string // asked for beside all others
	// builtIn were wanted and need no module; absent are standard ones that the kernel does not have.
	builtIn, absent []string
	// missing are those that somebody asked for.
	missing []string
}

// Groups of modules, as a report names them.
const (
	groupBase   = "always"
	groupSystem = "file system"
	groupDevice = "by device"
	groupNeeded = "needed"
)

// choose gathers the modules for o.
func choose(x *index, o Options, step func(string) error) (*picker, error) {
	p := &picker{x: x, found: map[string]*picked{}}
	for _, name := range o.MoreModules {
		p.more = append(p.more, modules.Name(name))
	}
	for _, name := range always {
		if err := p.add(name, groupBase, name == "nbd"); err != nil {
			return nil, err
		}
	}
	if err := p.add(overlay, groupSystem, false); err != nil {
		return nil, err
	}
	systems, cards := o.FileSystems, o.Cards
	if systems == nil {
		systems = StandardFileSystems()
	}
	if cards == nil {
		cards = StandardCards()
	}
	for _, want := range []struct {
		names    []string
		group    string
		explicit bool
	}{
		{systems, groupSystem, o.FileSystems != nil}, {cards, groupDevice, o.Cards != nil}, {p.all(o.AllNetwork), groupDevice, false}, {o.MoreModules, "", true},
	} {
		for _, name := range want.names {
			if err := step(name); err != nil {
				return nil, err
			}
			if err := p.add(name, want.group, want.explicit); err != nil {
				return nil, err
			}
		}
	}
	if len(p.missing) > 0 {
		return nil, noModule(p.missing)
	}
	return p, nil
}

// all gives all network cards of the kernel.
func (p *picker) all(wanted bool) (names []string) {
	for _, name := range sorted(p.x.files) {
		if wanted && strings.HasPrefix(p.x.files[name], ethernet) {
			names = append(names, name)
		}
	}
	return names
}

// add takes a module with all that it needs. Without a group it is loaded by device when it drives devices, else always.
func (p *picker) add(name, group string, explicit bool) error {
	name = modules.Name(name)
	_, there := p.x.files[name]
	switch {
	case p.x.builtIn[name]:
		p.builtIn = append(p.builtIn, name)
	case there:
		if err := p.gather(name, 0); err != nil {
			return err
		}
	case explicit:
		p.missing = append(p.missing, name)
		return nil
	default:
		p.absent = append(p.absent, name)
		return nil
	}
	if group == groupSystem && !slices.Contains(p.systems, name) {
		p.systems = append(p.systems, name)
	}
	m := p.found[name]
	if m == nil {
		return nil
	}
	if group == "" {
		if group = groupBase; slices.ContainsFunc(m.info.aliases, ofDevice) {
			group = groupDevice
		}
	}
	if group == groupBase && !slices.Contains(p.base, name) {
		p.base = append(p.base, name)
	}
	if m.group == groupNeeded || group == groupBase {
		m.group = group
	}
	return nil
}

// ofDevice tells whether an alias is that of a device on some bus, not of an algorithm or a file system.
func ofDevice(alias string) bool {
	return strings.Contains(alias, ":") && !strings.HasPrefix(alias, "devname:")
}

// gather reads a module and all that it needs.
func (p *picker) gather(name string, depth int) error {
	if p.found[name] != nil {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("module %s: more than %d modules need one another in a row", name, maxDepth)
	}
	content, info, err := p.x.load(name)
	if err != nil {
		return err
	}
	m := &picked{content: content, info: info, group: groupNeeded}
	p.found[name] = m
	for _, d := range info.depends {
		if p.x.builtIn[d] {
			continue
		}
		if _, ok := p.x.files[d]; !ok {
			return fmt.Errorf("module %s needs %s, which %s does not have", name, d, p.x.dir)
		}
		if err := p.gather(d, depth+1); err != nil {
			return err
		}
	}
	if m.before, err = p.soft(info.before, depth); err != nil {
		return err
	}
	m.after, err = p.soft(append(slices.Clone(info.after), companions[name]...), depth)
	return err
}

// soft gathers what is wanted and not needed; what the kernel does not have is left out.
func (p *picker) soft(names []string, depth int) (found []string, err error) {
	for _, alias := range names {
		list, err := p.x.resolve(alias)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			if err := p.gather(name, depth+1); err != nil {
				return nil, err
			}
			if !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	return found, nil
}

// list is what init reads, of the modules in only; nil: of all.
func (p *picker) list(version, folder string, only map[string]bool) *modules.List {
	l := &modules.List{Kernel: version, First: only != nil, Base: p.base}
	for _, name := range p.systems {
		if only == nil || only[name] || p.found[name] == nil {
			l.FileSystems = append(l.FileSystems, name)
		}
	}
	for _, name := range sorted(p.found) {
		m := p.found[name]
		if only != nil && !only[name] {
			continue
		}
		o := ordering{p: p, at: map[string]int{}, visited: map[string]bool{name: true}}
		o.visit(name, false)
		l.Modules = append(l.Modules, modules.Module{Name: name, Path: folder + "/" + plainName(p.x.files[name]), Needs: o.needs, Later: m.after})
		for _, a := range slices.Sorted(slices.Values(m.info.aliases)) {
			l.Aliases = append(l.Aliases, modules.Alias{Pattern: a, Name: name})
		}
	}
	return l
}

// ordering puts what a module needs into the order of loading.
type ordering struct {
	p       *picker
	needs   []modules.Need
	at      map[string]int
	visited map[string]bool
}

// visit adds all that a module needs. Modules that need one another softly in a circle are loaded as they are met.
func (o *ordering) visit(name string, soft bool) {
	m := o.p.found[name]
	for _, n := range m.before {
		o.need(n, true)
	}
	for _, n := range m.info.depends {
		o.need(n, soft)
	}
}

func (o *ordering) need(name string, soft bool) {
	if o.p.found[name] == nil {
		return // built in
	}
	if !o.visited[name] {
		o.visited[name] = true
		o.visit(name, soft)
		o.at[name] = len(o.needs)
		o.needs = append(o.needs, modules.Need{Name: name, Soft: soft})
		return
	}
	if i, ok := o.at[name]; ok && !soft && o.needs[i].Soft {
		o.needs[i].Soft = false
		o.visit(name, false) // what it needs is needed too
	}
}

// sorted gives the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
