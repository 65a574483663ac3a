package farm

import (
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// reading turns the document into a Config. What refers to something by name is noted and looked up at the
// end, when all names are known.
type reading struct {
	*document
	config  *Config
	defined map[string]map[string]place // kind -> name -> where
	refers  []mention
	later   []func() // checks that need the whole

	policy Collection // what collections inherit
	macs   map[MAC]place
	keys   map[DeviceKey]place
	addrs  map[string]place
	boot   bootReading
}

type mention struct {
	kind string
	name word
}

// read takes every field of the file.
func (r *reading) read(top *object) {
	r.defined = map[string]map[string]place{}
	r.macs, r.keys, r.addrs = map[MAC]place{}, map[DeviceKey]place{}, map[string]place{}
	r.boot.hosts = map[string]place{}

	c := r.config
	c.Name = r.name(top.need("farm"))
	c.KeyFile = r.keyFile(top, top.need("key_file"))
	c.OlderKeyFile = r.keyFile(top, top.text("older_key_file"))
	c.StateDir = r.path(top.text("state"), defaultState)
	r.readAdmin(top)
	r.readPolicy(top)
	r.readBoot(top)
	top.objects("sites", "a site", r.readSite)
	top.objects("servers", "a server", r.readServer)
	top.objects("stores", "a store", r.readStore)
	top.objects("vdisks", "a vDisk", r.readVDisk)
	top.objects("collections", "a collection", r.readCollection)
	top.objects("devices", "a device", r.readDevice)
	r.later = append(r.later, r.checkBoot)
	for _, section := range []struct {
		name string
		n    int
	}{{"servers", len(r.defined["server"])}, {"stores", len(r.defined["store"])}} {
		if section.n == 0 {
			r.complain(place{}, "%s: the farm has none", section.name)
		}
	}
	if len(c.Servers) > maxServers {
		r.complain(place{}, "%d servers; a farm has at most %d", len(c.Servers), maxServers)
	}
}

// resolve complains about every name that nothing has, and about what the names mean together.
func (r *reading) resolve() {
	for _, ref := range r.refers {
		names := r.defined[ref.kind]
		if _, ok := names[ref.name.text]; ok || ref.name.text == "" {
			continue
		}
		r.complain(ref.name.at, "no %s is called %q%s", ref.kind, ref.name.text, suggest(ref.name.text, slices.Sorted(maps.Keys(names))))
	}
	for _, check := range r.later {
		check()
	}
}

// define notes a name and complains when it is taken.
func (r *reading) define(kind string, w word) string {
	name := r.name(w)
	if name == "" {
		return ""
	}
	if r.defined[kind] == nil {
		r.defined[kind] = map[string]place{}
	}
	if first, ok := r.defined[kind][name]; ok {
		r.complain(w.at, "a second %s called %q; the first is in line %d", kind, name, first.line)
		return name
	}
	r.defined[kind][name] = w.at
	return name
}

// refer notes that something of this kind must have this name.
func (r *reading) refer(kind string, w word) string {
	if w.text != "" {
		r.refers = append(r.refers, mention{kind, w})
	}
	return w.text
}

func (r *reading) referAll(kind string, words []word) []string {
	var names []string
	for _, w := range words {
		names = append(names, r.refer(kind, w))
	}
	return names
}

// name checks a name; an empty word was complained about already.
func (r *reading) name(w word) string {
	if w.text == "" {
		return ""
	}
	if err := checkName(w.text); err != nil {
		r.complain(w.at, "%v", err)
		return ""
	}
	return w.text
}

// path checks the path of a file or folder.
func (r *reading) path(w word, standard string) string {
	if w.text == "" {
		return standard
	}
	if !filepath.IsAbs(w.text) {
		r.complain(w.at, "%q must be an absolute path", w.text)
	}
	return filepath.Clean(w.text)
}

// keyFile checks the path of a key file, and that no key stands in its place.
func (r *reading) keyFile(o *object, w word) string {
	if w.text != "" && looksLikeKey(w.text) {
		r.complain(w.at, "a key stands here; the farm file never holds one: write the key into a file of mode 0600 and name that file")
		return ""
	}
	return r.path(w, "")
}

// looksLikeKey tells whether a value decodes to the 32 bytes of a key in a common form.
func looksLikeKey(s string) bool {
	if b, err := hex.DecodeString(s); err == nil && len(b) == 32 {
		return true
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(s); err == nil && len(b) == 32 {
			return true
		}
	}
	return strings.HasPrefix(s, "spate1")
}

// address reads IP or IP:PORT and complains when two servers have the same one.
func (r *reading) address(w word, what string, port uint16) netip.AddrPort {
	if w.text == "" {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(w.text)
	if ip, ipErr := netip.ParseAddr(w.text); ipErr == nil {
		a, err = netip.AddrPortFrom(ip, port), nil
	}
	if err != nil || !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
		r.complain(w.at, "%s is %q; it must be an address that others can reach, such as 192.0.2.11 or 192.0.2.11:%d", what, w.text, port)
		return netip.AddrPort{}
	}
	kind := "udp" // stream and peer service; the admin API listens on TCP
	if what == "admin" {
		kind = "tcp"
	}
	r.unique(r.addrs, kind+" "+a.String(), w, "address "+a.String())
	return a
}

// unique complains when a key was there before.
func (r *reading) unique(seen map[string]place, key string, w word, what string) {
	if first, ok := seen[key]; ok {
		r.complain(w.at, "%s stands in line %d already", what, first.line)
		return
	}
	seen[key] = w.at
}

func (r *reading) readAdmin(top *object) {
	c := &r.config.Admin
	c.Socket, c.SocketMode = defaultSocket, ownerMode
	n := top.take("admin")
	if n == nil {
		return
	}
	o := r.object(n, "admin")
	if o == nil {
		return
	}
	c.Socket = r.path(o.text("socket"), defaultSocket)
	r.readSocketRights(o)
	c.TokenFile = r.keyFile(o, o.text("token_file"))
	c.Certificate = r.path(o.text("certificate"), "")
	c.PrivateKey = r.keyFile(o, o.text("private_key"))
	if tls := []string{c.TokenFile, c.Certificate, c.PrivateKey}; tls[0]+tls[1]+tls[2] != "" && (tls[0] == "" || tls[1] == "" || tls[2] == "") {
		r.complain(o.at, "token_file, certificate and private_key belong together; one of them is missing")
	}
	o.end()
}

// readSocketRights reads who may use the socket. A group alone says that it may.
func (r *reading) readSocketRights(o *object) {
	c := &r.config.Admin
	mode, group := o.text("socket_mode"), o.text("socket_group")
	if group.text != "" {
		c.SocketGroup, c.SocketMode = group.text, groupMode
		if !groupName.MatchString(group.text) {
			r.complain(group.at, "socket_group is %q; it must be the name of a group, such as adm, or its number", group.text)
		}
	}
	if mode.text == "" {
		return
	}
	// As in YAML, Go and C; people mean an octal number here, whichever way they write it.
	n, err := strconv.ParseUint(strings.TrimPrefix(mode.text, "0o"), 8, 12)
	c.SocketMode = fs.FileMode(n)
	switch {
	case err != nil || c.SocketMode != ownerMode && c.SocketMode != groupMode:
		r.complain(mode.at, "socket_mode is %q; it must be 0600, for the owner alone, or 0660, for socket_group as well", mode.text)
	case c.SocketMode == ownerMode && group.text != "":
		r.complain(mode.at, "socket_mode %s keeps out the socket_group of line %d; leave one of them out, or use 0660", mode.text, group.at.line)
	}
}

// groupName is what groups are called on Linux (groupadd(8)), or a number.
var groupName = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_.-]{0,31}|[0-9]{1,10})$`)

// readPolicy reads what collections inherit.
func (r *reading) readPolicy(top *object) {
	r.policy = Collection{Login: LoginKnown, Affinity: AffinityNone, By: NearZone, Hold: defaultHold, Rebalance: On}
	r.config.Drain = defaultDrain
	n := top.take("policy")
	if n == nil {
		return
	}
	o := r.object(n, "policy")
	if o == nil {
		return
	}
	r.readRules(o, &r.policy, r.policy)
	unknown := o.text("unknown")
	r.config.Unknown = r.refer("collection", unknown)
	r.later = append(r.later, func() {
		if c := r.config.Collection(unknown.text); c != nil && c.Login != LoginOpen {
			r.complain(unknown.at, "unknown devices cannot log in to collection %s, whose login is %q; it must be %q", c.Name, c.Login, LoginOpen)
		}
	})
	r.config.Drain = o.duration("drain", defaultDrain, time.Second, maxWait)
	o.end()
}

// readRules reads the fields that policy and collections share.
func (r *reading) readRules(o *object, c *Collection, standard Collection) {
	c.Login = choice(o, "login", standard.Login, LoginOpen, LoginKnown, LoginKey)
	c.Affinity = choice(o, "affinity", standard.Affinity, AffinityNone, AffinityPrefer, AffinityRequire)
	c.By = choice(o, "by", standard.By, NearZone, NearSubnet)
	c.Hold = o.duration("hold", standard.Hold, 0, maxWait)
	c.Rebalance = choice(o, "rebalance", standard.Rebalance, On, Off)
}

func (r *reading) readSite(o *object) {
	s := Site{Name: r.define("site", o.need("name"))}
	for _, z := range o.words("zones") {
		s.Zones = append(s.Zones, r.define("zone", z))
	}
	r.config.Sites = append(r.config.Sites, s)
}

func (r *reading) readServer(o *object) {
	s := Server{
		Name:   r.define("server", o.need("name")),
		Site:   r.refer("site", o.text("site")),
		Zone:   r.refer("zone", o.text("zone")),
		Tier:   o.whole("tier", 1, 1, maxTier),
		Power:  o.number("power", 1, 0.01, maxPower),
		Limit:  o.whole("limit", 0, 1, maxSessions),
		Stream: r.address(o.need("stream"), "stream", defaultStreamPort),
		Peer:   r.address(o.text("peer"), "peer", defaultPeerPort),
		Admin:  r.address(o.text("admin"), "admin", defaultAdminPort),
	}
	if !s.Peer.IsValid() && s.Stream.IsValid() {
		s.Peer = netip.AddrPortFrom(s.Stream.Addr(), defaultPeerPort)
	}
	for _, w := range o.words("subnets") {
		p, err := netip.ParsePrefix(w.text)
		if err != nil || p != p.Masked() {
			r.complain(w.at, "%q is no subnet; one looks like 192.0.2.0/24", w.text)
			continue
		}
		s.Subnets = append(s.Subnets, p)
	}
	r.readServerBoot(o, &s)
	for _, a := range []netip.AddrPort{s.Stream, s.Peer, s.Admin} {
		if s.Boot == nil || s.Boot.Address != a.Addr() { // that one has a check of its own
			r.boot.fixed = append(r.boot.fixed, placed[fixed]{fixed{"server " + s.Name, a.Addr()}, o.at})
		}
	}
	r.config.Servers = append(r.config.Servers, s)
}

// readStore reads a store: its path, and the servers that have it, each by name or with a path of its own.
func (r *reading) readStore(o *object) {
	s := Store{Name: r.define("store", o.need("name")), Site: r.refer("site", o.text("site"))}
	standard := r.path(o.text("path"), "")
	seen := map[string]place{}
	o.list("servers", func(n ast.Node) {
		var (
			c  Copy
			at word
		)
		switch n.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			entry := r.object(n, "a store's server")
			at = entry.need("name")
			c = Copy{r.refer("server", at), r.path(entry.text("path"), standard)}
			entry.end()
		default:
			at, _ = r.scalar(n)
			c = Copy{r.refer("server", at), standard}
		}
		if at.text == "" {
			return
		}
		if c.Path == "" {
			r.complain(at.at, "no path for store %s on %s: give the store a path, or this server one of its own", s.Name, at.text)
		}
		r.unique(seen, at.text, at, "server "+at.text)
		s.Copies = append(s.Copies, c)
	})
	if len(s.Copies) == 0 {
		r.complain(o.at, "store %s has no servers", s.Name)
	}
	r.config.Stores = append(r.config.Stores, s)
}

func (r *reading) readVDisk(o *object) {
	v := VDisk{Name: r.define("vDisk", o.need("name")), Store: r.refer("store", o.need("store"))}
	primary, secondary := o.words("primary"), o.words("secondary")
	v.Primary = r.referAll("server", primary)
	v.Secondary = r.referAll("server", secondary)
	for _, w := range secondary {
		for _, p := range v.Primary {
			if p == w.text {
				r.complain(w.at, "server %s is primary and secondary for %s; it can be one of them", p, v.Name)
			}
		}
	}
	r.config.VDisks = append(r.config.VDisks, v)
	r.later = append(r.later, func() {
		store := r.config.Store(v.Store)
		if store == nil {
			return
		}
		for _, w := range slices.Concat(primary, secondary) {
			if !slices.ContainsFunc(store.Copies, func(c Copy) bool { return c.Server == w.text }) {
				r.complain(w.at, "server %s does not have store %s, in which %s lies", w.text, v.Store, v.Name)
			}
		}
	})
}

func (r *reading) readCollection(o *object) {
	c := Collection{
		Name: r.define("collection", o.need("name")),
		Site: r.refer("site", o.text("site")),
		Zone: r.refer("zone", o.text("zone")),
	}
	r.readRules(o, &c, r.policy)
	before := len(r.mistakes)
	for _, w := range o.words("vdisks") {
		if v, ok := r.wanted(w); ok {
			c.VDisks = append(c.VDisks, v)
		}
	}
	if len(c.VDisks) == 0 && len(r.mistakes) == before {
		r.complain(o.at, "collection %s has no vdisks; the first of the list is what its devices get", c.Name)
	}
	c.Servers = r.referAll("server", o.words("servers"))
	c.PSKFile = r.keyFile(o, o.text("psk_file"))
	c.Booting = r.readBooting(o, func() []Wanted { return c.VDisks })
	r.config.Collections = append(r.config.Collections, c)
}

// wanted reads NAME or NAME@VERSION and notes the name.
func (r *reading) wanted(w word) (Wanted, bool) {
	v, err := ParseWanted(w.text)
	if err != nil {
		r.complain(w.at, "%v", err)
		return Wanted{}, false
	}
	r.refer("vDisk", word{v.Name, w.at})
	return v, true
}

func (r *reading) readDevice(o *object) {
	mac := o.need("mac")
	d := Device{Collection: r.refer("collection", o.need("collection")), Zone: r.refer("zone", o.text("zone"))}
	if w := o.text("name"); w.text != "" {
		d.Name = r.define("device", w)
	}
	if mac.text != "" {
		m, err := ParseMAC(mac.text)
		if err != nil {
			r.complain(mac.at, "%v", err)
		} else if first, ok := r.macs[m]; ok {
			r.complain(mac.at, "MAC address %s stands in line %d already", m, first.line)
		} else {
			r.macs[m] = mac.at
		}
		d.MAC = m
	}
	if d.Name == "" {
		d.Name = d.MAC.String()
	}
	if w := o.text("key"); w.text != "" {
		k, err := ParseDeviceKey(w.text)
		if err != nil {
			r.complain(w.at, "%v", err)
		} else if first, ok := r.keys[k]; ok {
			r.complain(w.at, "this device key stands in line %d already", first.line)
		} else {
			r.keys[k] = w.at
		}
		d.Key = &k
	}
	r.readVDisks(o, &d)
	r.readDeviceBoot(o, &d, func() []Wanted { return r.config.bootable(d) })
	d.Disabled = choice(o, "state", "enabled", "enabled", "disabled") == "disabled"
	r.config.Devices = append(r.config.Devices, d)
}
