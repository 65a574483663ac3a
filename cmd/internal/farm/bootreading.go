package farm

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/spate-project/spate/cmd/internal/bootline"
)

// bootReading is what is noted while the boot settings are read, for the checks at the end.
type bootReading struct {
	at, http place
	subnets  []placed[Subnet]
	routers  []placed[netip.Addr]
	pools    []placed[Range]
	reserved []placed[netip.Addr]
	fixed    []placed[fixed]
	hosts    map[string]place
	// settings are those that mean nothing without a boot section.
	settings []placed[string]
	servers  []placed[int] // index in Config.Servers
	menus    []menuCheck
}

// placed is a value with its place in the file.
type placed[T any] struct {
	what T
	at   place
}

// fixed is an address that somebody has without asking for it.
type fixed struct {
	who  string
	addr netip.Addr
}

// menuCheck is a menu's default that must be among what is offered.
type menuCheck struct {
	word    word
	offered func() []Wanted
}

// section takes a field that is a mapping; nil when it is missing or no mapping.
func (o *object) section(name string) *object {
	v := o.fields[name]
	n := o.take(name)
	switch {
	case n != nil:
		return o.d.object(n, name)
	case v != nil:
		o.d.complain(placeOf(v.Key), "%s is empty; write %s: {} for the standard settings, or leave it out", name, name)
	}
	return nil
}

// bootOnly takes a field that means nothing without a boot section.
func (r *reading) bootOnly(o *object, name string) word {
	w := o.text(name)
	if w.text != "" {
		r.boot.settings = append(r.boot.settings, placed[string]{name, w.at})
	}
	return w
}

// several takes a field that is one value or a list of them.
func (o *object) several(name string) []word {
	if v := o.fields[name]; v != nil && kind(v.Value) == "a single value" {
		return []word{o.text(name)}
	}
	return o.words(name)
}

// readBoot reads the section boot.
func (r *reading) readBoot(top *object) {
	o := top.section("boot")
	if o == nil {
		return
	}
	b := &Boot{}
	r.config.Boot, r.boot.at = b, o.at
	before := len(r.mistakes)
	b.DHCP = choice(o, "dhcp", DHCPOff, DHCPOff, DHCPServer, DHCPProxy)
	clear := len(r.mistakes) == before
	if v := o.fields["http"]; v != nil {
		r.boot.http = placeOf(v.Value)
	}
	b.HTTP = uint16(o.whole("http", defaultBootPort, 1, 65535))
	b.TFTP = choice(o, "tftp", On, On, Off)
	b.SecureBoot = choice(o, "secure_boot", Off, On, Off)
	b.RouterAdvertisement = r.readAdvertisement(o, b.DHCP, clear)
	subnets, there := o.fields["subnets"]
	o.objects("subnets", "a subnet", r.readSubnet)
	switch {
	case !clear: // what dhcp should be is not known
	case b.DHCP == DHCPServer && len(r.boot.subnets) == 0:
		r.complain(o.at, "dhcp: server needs subnets, each with its network and a pool of addresses to give out")
	case b.DHCP != DHCPServer && there:
		r.complain(placeOf(subnets.Key), "subnets are for dhcp: server; with dhcp: %s no addresses are given out", b.DHCP)
	}
	if len(b.Subnets) > maxSubnets {
		r.complain(o.at, "%d subnets; a farm has at most %d", len(b.Subnets), maxSubnets)
	}
	o.end()
}

// readAdvertisement reads whether machines are told that there is no router. Who boots is known by DHCP, so without it nobody is.
func (r *reading) readAdvertisement(boot *object, dhcp DHCP, clear bool) Switch {
	v, standard := boot.fields["router_advertisement"], On
	if dhcp == DHCPOff {
		standard = Off
	}
	s := choice(boot, "router_advertisement", standard, On, Off)
	if clear && s == On && dhcp == DHCPOff {
		r.complain(placeOf(v.Key), "router_advertisement is for dhcp: server or proxy; with dhcp: off the farm hears too late of a machine that starts")
	}
	return s
}

func (r *reading) readSubnet(o *object) {
	s := Subnet{Lease: o.duration("lease", defaultLease, minLease, maxLease)}
	network := o.need("network")
	p, err := netip.ParsePrefix(network.text)
	switch {
	case network.text == "":
	case err != nil || !p.Addr().Is4() || p.Bits() < shortestPrefix || p.Bits() > longestPrefix:
		r.complain(network.at, "%q is no network of IPv4 machines; one looks like 192.0.2.0/24", network.text)
	case p != p.Masked():
		r.complain(network.at, "%s is an address in a network; the network is %s", p, p.Masked())
	default:
		s.Network = p
		r.boot.subnets = append(r.boot.subnets, placed[Subnet]{s, network.at})
	}
	for _, w := range o.several("pool") {
		if one, ok := r.pool(w, s.Network); ok {
			s.Pools = append(s.Pools, one)
			r.boot.pools = append(r.boot.pools, placed[Range]{one, w.at})
		}
	}
	if len(s.Pools) > maxPools {
		r.complain(o.at, "%d pools; a subnet has at most %d", len(s.Pools), maxPools)
	}
	if w := o.text("router"); w.text != "" {
		s.Router = r.machineAddress(w, "router")
		if s.Router.IsValid() && s.Network.IsValid() && !usable(s.Network, s.Router) {
			r.complain(w.at, "router %s is no address of a machine in %s", s.Router, s.Network)
		}
		r.boot.routers = append(r.boot.routers, placed[netip.Addr]{s.Router, w.at})
	}
	dns := o.several("dns")
	for _, w := range dns {
		s.DNS = append(s.DNS, r.machineAddress(w, "a name server"))
		r.boot.fixed = append(r.boot.fixed, placed[fixed]{fixed{"the name server", s.DNS[len(s.DNS)-1]}, w.at})
	}
	if len(dns) > maxNameServers {
		r.complain(dns[maxNameServers].at, "%d name servers; machines are told at most %d", len(dns), maxNameServers)
	}
	if w := o.text("domain"); w.text != "" {
		s.Domain = w.text
		if len(w.text) > maxDomainBytes || !domainName.MatchString(w.text) {
			r.complain(w.at, "%q is no domain; one looks like lab.example.org", w.text)
		}
	}
	r.config.Boot.Subnets = append(r.config.Boot.Subnets, s)
}

var (
	hostName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)
	domainName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

// machineAddress reads an IPv4 address that one machine can have.
func (r *reading) machineAddress(w word, what string) netip.Addr {
	a, err := netip.ParseAddr(w.text)
	if err != nil || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		r.complain(w.at, "%s is %q; it must be an IPv4 address such as 192.0.2.11", what, w.text)
		return netip.Addr{}
	}
	return a
}

// pool reads FIRST-LAST, both in the network, which is not valid when it was complained about.
func (r *reading) pool(w word, network netip.Prefix) (Range, bool) {
	first, last, ok := strings.Cut(w.text, "-")
	a, errA := netip.ParseAddr(strings.TrimSpace(first))
	b, errB := netip.ParseAddr(strings.TrimSpace(last))
	one := Range{a, b}
	switch {
	case !ok || errA != nil || errB != nil || !a.Is4() || !b.Is4():
		r.complain(w.at, "%q is no pool; one looks like 192.0.2.100-192.0.2.199", w.text)
	case b.Less(a):
		r.complain(w.at, "pool %s ends before it begins", one)
	case network.IsValid() && (!usable(network, a) || !usable(network, b)):
		r.complain(w.at, "pool %s is not inside %s: its addresses for machines are %s", one, network, machineRange(network))
	default:
		return one, true
	}
	return Range{}, false
}

// machineRange is the addresses of a network that machines can have.
func machineRange(p netip.Prefix) Range { return Range{p.Masked().Addr().Next(), broadcast(p).Prev()} }

func usable(p netip.Prefix, a netip.Addr) bool { return machineRange(p).Contains(a) }

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// readServerBoot reads what a server says about booting; its name and stream address are known.
func (r *reading) readServerBoot(server *object, s *Server) {
	at := server.at
	if v := server.fields["boot"]; v != nil {
		at = placeOf(v.Key)
	}
	o := server.section("boot")
	if o == nil {
		return
	}
	r.boot.settings = append(r.boot.settings, placed[string]{"boot", at})
	b := &ServerBoot{}
	if w := o.text("address"); w.text != "" {
		b.Address, at = r.machineAddress(w, "address"), w.at
	} else if a := s.Stream.Addr(); a.Is4() {
		b.Address = a
	} else if a.IsValid() {
		r.complain(at, "server %s streams at %s; machines boot over IPv4, so boot needs an address", s.Name, a)
	}
	if w := o.text("interface"); w.text != "" {
		b.Interface = w.text
		if len(w.text) > maxInterfaceName || strings.ContainsAny(w.text, "/: \t") || w.text == "." || w.text == ".." {
			r.complain(w.at, "%q is no name of a network card; ip link lists those of a server", w.text)
		}
	}
	s.Boot = b
	r.boot.servers = append(r.boot.servers, placed[int]{len(r.config.Servers), at})
	o.end()
}

// readBooting reads what a collection says about the start of its devices.
func (r *reading) readBooting(o *object, vdisks func() []Wanted) Booting {
	b := Booting{Menu: r.readMenu(o, vdisks), CommandLine: r.commandLine(o)}
	b.Shell = r.bootSwitch(o, "boot_shell") == On
	b.SecureBoot = r.bootSwitch(o, "secure_boot")
	if w := r.bootOnly(o, "root"); w.text != "" {
		b.Root = bootline.Root(w.text)
		if b.Root != bootline.RootBlock && b.Root != bootline.RootOverlay {
			r.complain(w.at, "root is %q; it must be one of %s, %s", w.text, bootline.RootBlock, bootline.RootOverlay)
		}
	}
	if w := r.bootOnly(o, "write_cache"); w.text != "" {
		line, ok := writeCache(w.text)
		if !ok {
			r.complain(w.at, "write_cache is %q; it must be an amount of memory, such as ram:1G or ram:50%%", w.text)
		}
		b.CacheBytes = line.CacheBytes
		if b.CacheBytes == 0 {
			b.CachePercent = line.CachePercent
		}
	}
	return b
}

// writeCache reads the size of a write cache as the machine will.
func writeCache(text string) (bootline.Line, bool) {
	const name = "spate.write-cache="
	line, mistakes := bootline.Parse(name + text)
	for _, m := range mistakes {
		if strings.Contains(m, name) {
			return line, false
		}
	}
	return line, !strings.ContainsAny(text, " \t\n")
}

// bootSwitch reads an optional switch; empty when nothing is said.
func (r *reading) bootSwitch(o *object, name string) Switch {
	if v := o.fields[name]; v != nil {
		r.boot.settings = append(r.boot.settings, placed[string]{name, placeOf(v.Value)})
	}
	return choice(o, name, "", On, Off)
}

// commandLine reads words for the kernel.
func (r *reading) commandLine(o *object) string {
	w := r.bootOnly(o, "command_line")
	switch {
	case len(w.text) > maxCommandLine:
		r.complain(w.at, "command_line has %d bytes; at most %d are for a farm file", len(w.text), maxCommandLine)
	case strings.ContainsFunc(w.text, func(c rune) bool { return c < ' ' || c > '~' }):
		r.complain(w.at, "command_line must be one line of plain letters")
	}
	for one := range strings.FieldsSeq(w.text) {
		switch name, _, _ := strings.Cut(one, "="); name {
		case "spate.server", "spate.farm-key", "spate.vdisk", "spate.content", "spate.lease", "BOOTIF":
			r.complain(w.at, "%s is written by the farm and cannot be in command_line", name)
		}
	}
	return w.text
}

// readMenu reads a menu; nil when there is none.
func (r *reading) readMenu(o *object, offered func() []Wanted) *Menu {
	v := o.fields["menu"]
	m := o.section("menu")
	if m == nil {
		return nil
	}
	r.boot.settings = append(r.boot.settings, placed[string]{"menu", placeOf(v.Key)})
	menu := &Menu{
		Timeout:   m.duration("timeout", defaultMenuWait, 0, maxMenuWait),
		LocalDisk: choice(m, "local_disk", Off, On, Off) == On,
	}
	switch w := m.text("default"); w.text {
	case "":
	case string(BootLocal):
		menu.Local = true
		if !menu.LocalDisk {
			r.complain(w.at, "the default is the local disk, which the menu does not offer; add local_disk: on")
		}
	default:
		want, err := ParseWanted(w.text)
		if err != nil {
			r.complain(w.at, "%v", err)
		}
		menu.Default = want
		r.boot.menus = append(r.boot.menus, menuCheck{w, offered})
	}
	m.end()
	if menu.Timeout%time.Second != 0 {
		r.complain(placeOf(v.Key), "the menu's timeout must be whole seconds")
	}
	return menu
}

// readDeviceBoot reads what a device says about its own start; its name is known.
func (r *reading) readDeviceBoot(o *object, d *Device, offered func() []Wanted) {
	b := &d.Boot
	if v := o.fields["boot"]; v != nil {
		r.boot.settings = append(r.boot.settings, placed[string]{"boot", placeOf(v.Value)})
	}
	b.Way = choice(o, "boot", "", BootVDisk, BootLocal, BootDeny)
	b.Menu = r.readMenu(o, offered)
	b.CommandLine = r.commandLine(o)
	b.SecureBoot = r.bootSwitch(o, "secure_boot")
	if w := r.bootOnly(o, "address"); w.text != "" {
		b.Address = r.machineAddress(w, "address")
		if b.Address.IsValid() {
			r.boot.reserved = append(r.boot.reserved, placed[netip.Addr]{b.Address, w.at})
		}
	}
	host := r.bootOnly(o, "hostname")
	b.Hostname = host.text
	switch {
	case host.text == "":
		if isHostName(d.Name) {
			b.Hostname = d.Name
		}
	case !isHostName(host.text):
		r.complain(host.at, "%q is no host name; one is letters, digits and '-'", host.text)
	default:
		r.unique(r.boot.hosts, strings.ToLower(host.text), host, "host name "+host.text)
	}
}

func isHostName(s string) bool { return len(s) <= maxHostnameBytes && hostName.MatchString(s) }

// readVDisks reads what is assigned to a device: one vDisk, or several that make a menu.
func (r *reading) readVDisks(o *object, d *Device) {
	one := o.text("vdisk")
	if one.text != "" {
		d.VDisk, _ = r.wanted(one)
	}
	all := o.words("vdisks")
	seen := map[string]place{}
	for _, w := range all {
		if v, ok := r.wanted(w); ok {
			r.unique(seen, v.String(), w, fmt.Sprintf("vDisk %s", v))
			d.VDisks = append(d.VDisks, v)
		}
	}
	switch {
	case len(all) > 0 && one.text != "":
		r.complain(one.at, "vdisk and vdisks exclude one another: vdisk assigns one, vdisks make a menu")
	case len(all) > maxChoices:
		r.complain(all[maxChoices].at, "%d vDisks; a menu has at most %d", len(all), maxChoices)
	}
}
