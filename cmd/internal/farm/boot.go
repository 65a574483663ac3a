package farm

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/cmd/internal/bootline"
	"github.com/spate-project/spate/loadbalance"
	"github.com/spate-project/spate/stream/wire"
)

// bootFacts are what a boot script names and the farm file does not say.
type bootFacts struct {
	key  string         // public key of the farm
	here netip.AddrPort // HTTP of this server's boot services, not valid when it has none
}

const (
	// maxLineServers bounds the log-in servers on a command line; a target learns of the others when it logs in.
	maxLineServers = 8
	// maxKernelLine is how much of its command line Linux reads on x86 (COMMAND_LINE_SIZE), less the zero and what the
	// boot loaders add: BOOTIF= and the names of their files.
	maxKernelLine = 2048 - 1 - 64
)

// boot says what a machine is to boot.
func (v view) boot(mac MAC, facts bootFacts) bootsvc.Entry {
	a := ask{mac: mac}
	var e bootsvc.Entry
	d := v.config.Device(mac)
	if d != nil {
		e.Device, e.Address, e.Hostname = d.Name, d.Boot.Address, d.Boot.Hostname
		if d.Key != nil {
			a.key = *d.Key // the machine proves it when it logs in
		}
	}
	o, ok := v.identify(a)
	e.Collection = o.device.Collection
	e.SecureBoot = v.secureBoot(o)
	switch {
	case !ok:
		e.Refusal, e.Why = o.sentence, "it may not log in"
		if o.code == wire.CodeKeyNeeded {
			e.Refusal = fmt.Sprintf("Collection %s wants registered device keys, and device %s has none; an administrator can put its key into the farm file.", e.Collection, o.device.Name)
		}
		if d == nil && v.config.Boot != nil && v.config.Boot.DHCP == DHCPProxy {
			e.Silent, e.Why = true, "the machine is not known, unknown machines may not log in, and beside the DHCP server of somebody else it may be anybody's"
		}
	case o.device.Boot.Way == BootDeny:
		e.Refusal = fmt.Sprintf("Device %s may not boot: the farm file says boot: deny.", o.device.Name)
		e.Why = "the farm file denies it"
	case o.device.Boot.Way == BootLocal:
		e.Local, e.Why = true, fmt.Sprintf("the farm file says that %s boots its own disk", o.device.Name)
	case o.collection.PSKFile != "":
		e.Refusal = fmt.Sprintf("Collection %s has a pre-shared key (psk_file), which a machine that boots over the network cannot be given; an administrator can assign device %s to a collection without one.",
			e.Collection, o.device.Name)
		e.Why = "no server would take its log-in"
	default:
		v.choose(&e, o, facts)
	}
	return e
}

// secureBoot says whether a device goes through the signed boot loaders: what is nearest to it counts.
func (v view) secureBoot(o outcome) bool {
	farm := Off
	if v.config.Boot != nil {
		farm = v.config.Boot.SecureBoot
	}
	return cmp.Or(o.device.Boot.SecureBoot, o.collection.SecureBoot, farm) == On
}

// choose fills in what a machine that may boot can choose from.
func (v view) choose(e *bootsvc.Entry, o outcome, facts bootFacts) {
	wants := v.bootable(o)
	who := "unknown machine"
	if o.known {
		who = "device " + o.device.Name
	}
	why := []string{fmt.Sprintf("%s of collection %s", who, o.collection.Name)}
	var missing []string
	for _, w := range wants {
		c, because := v.choice(o, w, facts)
		if v.config.Open && c.Missing != "" {
			missing = append(missing, c.Missing)
			continue // whatever lies in the folder is served; only some of it can be booted
		}
		e.Choices = append(e.Choices, c)
		why = append(why, w.String()+": "+because)
	}
	e.Why = strings.Join(why, "; ")
	if len(e.Choices) == 0 {
		e.Refusal = fmt.Sprintf("No vDisk is assigned to device %s; an administrator can assign one in the farm file.", o.device.Name)
		if v.config.Open {
			e.Refusal = strings.Join(append([]string{"No vDisk that can be booted is in the store."}, missing...), " ")
		}
		return
	}
	menu := cmp.Or(o.device.Boot.Menu, o.collection.Menu, &Menu{Timeout: defaultMenuWait})
	e.Timeout, e.LocalDisk = menu.Timeout, menu.LocalDisk
	switch {
	case menu.Local:
		e.Default = len(e.Choices)
	case menu.Default.Name != "": // a collection's default may be none of the device's own
		e.Default = max(0, slices.Index(wants, menu.Default))
	}
}

// bootable lists the vDisks that a machine may boot.
func (v view) bootable(o outcome) []Wanted {
	if !v.config.Open {
		return v.config.bootable(o.device)
	}
	var all []Wanted
	for _, d := range v.vdisks() {
		all = append(all, Wanted{Name: d.Name})
	}
	return all
}

// choice is the version that a vDisk's name stands for, and why.
func (v view) choice(o outcome, want Wanted, facts bootFacts) (c bootsvc.Choice, why string) {
	c = bootsvc.Choice{VDisk: want.Name, Version: want.Number, Title: want.Name}
	if want.Fixed {
		c.Title = fmt.Sprintf("%s version %d", want.Name, want.Number)
	}
	a := ask{mac: o.device.MAC, vdisk: want}
	found, ok := v.version(a, o)
	if !ok {
		c.Missing = found.sentence
		return c, strings.TrimSuffix(found.sentence, ".")
	}
	c.Version, c.Content = found.version.Number, found.version.tag()
	c.Title = fmt.Sprintf("%s version %d", c.VDisk, c.Version)
	carries := carried(v.holders(found.vdisk), found.version)
	found.choice = v.ranked(a, found)
	c.CommandLine = v.commandLine(found, carries, facts)
	const remedy = "spate vdisk build makes vDisks that can be booted, spate vdisk import takes --kernel and --boot-image."
	switch {
	case carries.Problem != "":
		c.Missing = fmt.Sprintf("vDisk %s cannot be booted: %s", c.Title, carries.Problem)
	case !carries.Kernel:
		c.Missing = fmt.Sprintf("vDisk %s carries no kernel; %s", c.Title, remedy)
	case !carries.Image:
		c.Missing = fmt.Sprintf("vDisk %s carries no boot image; %s", c.Title, remedy)
	case len(c.CommandLine) > maxKernelLine:
		c.Missing = fmt.Sprintf("The kernel command line of vDisk %s has %d bytes, and %d is the most; shorten command_line in the farm file, or the vDisk's own.", c.Title, len(c.CommandLine), maxKernelLine)
	}
	return c, found.why
}

// carried is what a version carries for booting, as a server knows whose replica of it is undamaged.
func carried(holders []holder, want Replica) ReplicaBoot {
	best := want.Boot
	for _, h := range holders {
		r, ok := h.replicas[want.Number]
		if ok && r.Problem == "" && r.Content == want.Content && best.Problem != "" {
			best = r.Boot
		}
	}
	return best
}

// commandLine is the kernel's: what the vDisk says, what the farm needs, what collection and device add, so that the word
// of whoever is nearer to the machine counts.
func (v view) commandLine(o outcome, carries ReplicaBoot, facts bootFacts) string {
	r := o.version
	line := bootline.Line{
		Servers: v.loginServers(o), FarmKey: facts.key, VDisk: fmt.Sprintf("%s@%d", r.VDisk, r.Number), Content: r.Content.tag(),
		CacheBytes: o.collection.CacheBytes, CachePercent: o.collection.CachePercent,
		Root: o.collection.Root, Shell: o.collection.Shell,
	}
	parts := []string{carries.CommandLine, line.String(), o.collection.CommandLine, o.device.Boot.CommandLine}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

// loginServers are the stream addresses of the servers that may serve a collection: first those that would serve this machine now, in
// their order, so that the first log-in is not referred to another one; then those that serve, this one first among them. A target that is
// answered by none of them asks on.
func (v view) loginServers(o outcome) []string {
	rank := func(s Server) int {
		if i := slices.Index(o.choice.Ranked, s.Name); i >= 0 {
			return i
		}
		return len(o.choice.Ranked)
	}
	servers := v.ordered(func(p peer) bool { return v.state(p) == loadbalance.Serving })
	slices.SortStableFunc(servers, func(a, b Server) int { return cmp.Compare(rank(a), rank(b)) })
	allowed := o.collection.Servers
	var all []string
	for _, s := range servers {
		if len(allowed) > 0 && !slices.Contains(allowed, s.Name) || !s.Stream.IsValid() || len(all) == maxLineServers {
			continue
		}
		all = append(all, s.Stream.String())
	}
	return all
}

// ordered lists the servers: those that are fit first, and this one first among them.
func (v view) ordered(fit func(peer) bool) []Server {
	all := slices.Clone(v.servers())
	rank := func(s Server) int {
		switch p, _ := v.peer(s.Name); {
		case !fit(p):
			return 2
		case s.Name == v.self:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b Server) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

// bootFarm lists the servers that run boot services.
func (v view) bootFarm(facts bootFacts) bootsvc.Farm {
	f := bootsvc.Farm{Name: v.config.Name}
	if facts.here.IsValid() {
		f.Servers = append(f.Servers, bootsvc.Server{Name: v.self, Addr: facts.here.Addr(), HTTP: facts.here.Port()})
	}
	if v.config.Boot == nil {
		return f
	}
	for _, s := range v.ordered(func(p peer) bool { return p.alive }) {
		if s.Boot != nil && s.Name != v.self {
			f.Servers = append(f.Servers, bootsvc.Server{Name: s.Name, Addr: s.Boot.Address, HTTP: v.config.Boot.HTTP})
		}
	}
	return f
}
