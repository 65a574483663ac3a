package farm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"
)

// Config is a farm as one farm file describes it. It is never changed after it was read.
type Config struct {
	// Name is the name of the farm, for people.
	Name string
	// KeyFile holds the farm secret; OlderKeyFile, empty for none, the one before it, which is still valid.
	KeyFile, OlderKeyFile string
	// StateDir is where a server keeps what must outlive it.
	StateDir string
	Admin    Admin
	// Boot is nil when no server runs boot services.
	Boot *Boot

	Sites       []Site
	Servers     []Server
	Stores      []Store
	VDisks      []VDisk
	Collections []Collection
	Devices     []Device
	// Unknown names the collection that devices belong to which are not in Devices; empty means that they
	// are refused.
	Unknown string
	// Drain is how long a planned stop waits for its targets to move.
	Drain time.Duration

	// Open is a farm without a farm file: servers are whoever has the farm's key, every device may log in, and
	// every vDisk that is found in OpenStore may be attached.
	Open bool

	// Hash is the hash of the file: servers with the same hash read the same file, byte for byte.
	Hash Digest
}

// Admin says how the admin API of each server can be reached.
type Admin struct {
	// Socket is the path of a Unix socket, guarded by file permissions.
	Socket string
	// SocketMode is its mode, 0600 for its owner alone or 0660 for a group as well; SocketGroup is the name or
	// number of that group, empty for the one that the server runs as.
	SocketMode  fs.FileMode
	SocketGroup string
	// TokenFile, Certificate and PrivateKey are files for the API over TLS at a server's admin address.
	TokenFile, Certificate, PrivateKey string
}

// Site is a place.
type Site struct {
	Name  string
	Zones []string
}

// Server is one server of the farm.
type Server struct {
	Name, Site, Zone string
	// Tier is the order of preference among groups of servers, from 1.
	Tier int
	// Power is the rating relative to other servers.
	Power float64
	// Limit is the greatest number of targets; 0 means no limit.
	Limit int
	// Subnets are the networks that count as near.
	Subnets []netip.Prefix
	// Stream and Peer are the addresses of the stream service (UDP) and of the talk among servers (TCP and
	// UDP); Admin is the one of the admin API over TLS, not valid when it has none.
	Stream, Peer, Admin netip.AddrPort
	// Boot is nil when the server runs no boot services.
	Boot *ServerBoot
}

// Store is a named folder with vDisk files on several servers.
type Store struct {
	Name, Site string
	Copies     []Copy
}

// Copy says where one server keeps a store.
type Copy struct {
	Server, Path string
}

// VDisk is a vDisk and where its versions lie.
type VDisk struct {
	Name, Store string
	// Primary and Secondary name servers whose replicas come before or after all others.
	Primary, Secondary []string
}

// Login says who may log in to a collection.
type Login string

// The login rules of a collection.
const (
	LoginOpen  Login = "open"  // any MAC address, also unknown ones
	LoginKnown Login = "known" // MAC addresses of the farm file
	LoginKey   Login = "key"   // devices whose key stands in the farm file
)

// Affinity says how much nearness matters to a collection.
type Affinity string

// The affinities of a collection.
const (
	AffinityNone    Affinity = "none"
	AffinityPrefer  Affinity = "prefer"
	AffinityRequire Affinity = "require"
)

// Nearness says what near means to a collection.
type Nearness string

// The measures of nearness.
const (
	NearZone   Nearness = "zone"
	NearSubnet Nearness = "subnet"
)

// Switch is on or off.
type Switch string

// The positions of a switch.
const (
	On  Switch = "on"
	Off Switch = "off"
)

// Collection is a group of devices of one site, administered alike.
type Collection struct {
	Name, Site, Zone string
	// VDisks are what its devices may attach; the first is what they get when neither the device nor its
	// log-in names another.
	VDisks []Wanted
	Login  Login
	// Servers may serve the collection; nil means all.
	Servers  []string
	Affinity Affinity
	By       Nearness
	// Hold is how long a server that came back waits until it is preferred again.
	Hold time.Duration
	// Rebalance tells whether running targets are moved to servers that have less to do.
	Rebalance Switch
	// PSKFile holds the pre-shared key of the collection; empty for none.
	PSKFile string
	Booting
}

// Device is one target device.
type Device struct {
	Name       string
	MAC        MAC
	Collection string
	// Zone replaces the collection's.
	Zone string
	// Key is the device's public key; nil when none is registered.
	Key *DeviceKey
	// VDisk is what the device gets; the zero value means the first of its collection.
	VDisk Wanted
	// VDisks are what the device may boot, in place of VDisk; several make a menu.
	VDisks []Wanted
	// Disabled devices are refused.
	Disabled bool
	Boot     DeviceBoot
}

// Wanted is a vDisk as people name it: NAME, for the version that the farm offers, or NAME@VERSION.
type Wanted struct {
	Name string
	// Number is the version, when Fixed.
	Number uint32
	Fixed  bool
}

// String is the name as people write it.
func (w Wanted) String() string {
	if !w.Fixed {
		return w.Name
	}
	return fmt.Sprintf("%s@%d", w.Name, w.Number)
}

// The values of a farm file that says nothing about them.
const (
	defaultStreamPort = 6910
	defaultPeerPort   = 6911
	defaultAdminPort  = 6912
	defaultHold       = 30 * time.Second
	defaultDrain      = 30 * time.Second
	defaultState      = "/var/lib/spate"
	defaultSocket     = "/run/spate/admin.sock"
)

// The modes that the socket of the admin API can have: whoever may write to it may do everything.
const (
	ownerMode fs.FileMode = 0o600
	groupMode fs.FileMode = 0o660
)

const (
	maxFileBytes = 8 << 20
	maxNameBytes = 64
	maxTier      = 1000
	maxPower     = 1000
	maxSessions  = 1_000_000
	maxServers   = 64
	maxWait      = 24 * time.Hour
)

// ReadConfig reads and checks a farm file. An error of type Mistakes lists everything that is wrong with it.
func ReadConfig(path string) (*Config, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no farm file %s; copy it from another server of the farm, or name it with --config: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("farm file: %w", err)
	}
	if info.Size() > maxFileBytes {
		return nil, Mistakes{{File: path, Text: fmt.Sprintf("the file has %d bytes; a farm file has at most %d", info.Size(), maxFileBytes)}}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("farm file: %w", err)
	}
	return ParseConfig(path, data)
}

// ParseConfig reads and checks the bytes of a farm file; path is only for complaints.
func ParseConfig(path string, data []byte) (*Config, error) {
	d := &document{file: path}
	top := d.parse(data)
	if top == nil {
		return nil, d.mistakes.sorted()
	}
	r := &reading{document: d, config: &Config{Hash: sha256.Sum256(data)}}
	r.read(top)
	top.end()
	r.resolve()
	if err := d.mistakes.sorted(); err != nil {
		return nil, err
	}
	return r.config, nil
}

// OpenStore is the name of the one store of an open farm.
const OpenStore = "store"

// openCollection is the one collection of an open farm.
const openCollection = "everyone"

// OpenConfig describes a farm that has no farm file.
func OpenConfig() *Config {
	return &Config{
		Name: "open", Open: true, Unknown: openCollection, Drain: defaultDrain,
		Collections: []Collection{{
			Name: openCollection, Login: LoginOpen, Affinity: AffinityNone, By: NearZone, Hold: defaultHold,
			Rebalance: On,
		}},
	}
}

// Device returns the device with this MAC address, nil when there is none.
func (c *Config) Device(m MAC) *Device {
	for i := range c.Devices {
		if c.Devices[i].MAC == m {
			return &c.Devices[i]
		}
	}
	return nil
}

// Server returns the server with this name, nil when there is none.
func (c *Config) Server(name string) *Server {
	for i := range c.Servers {
		if c.Servers[i].Name == name {
			return &c.Servers[i]
		}
	}
	return nil
}

// Store returns the store with this name, nil when there is none.
func (c *Config) Store(name string) *Store {
	for i := range c.Stores {
		if c.Stores[i].Name == name {
			return &c.Stores[i]
		}
	}
	return nil
}

// VDisk returns the vDisk with this name, nil when there is none.
func (c *Config) VDisk(name string) *VDisk {
	for i := range c.VDisks {
		if c.VDisks[i].Name == name {
			return &c.VDisks[i]
		}
	}
	return nil
}

// Collection returns the collection with this name, nil when there is none.
func (c *Config) Collection(name string) *Collection {
	for i := range c.Collections {
		if c.Collections[i].Name == name {
			return &c.Collections[i]
		}
	}
	return nil
}

// bootable lists what a device may boot: several make a menu, the first is what it gets otherwise.
func (c *Config) bootable(d Device) []Wanted {
	switch {
	case len(d.VDisks) > 0:
		return d.VDisks
	case d.VDisk.Name != "":
		return []Wanted{d.VDisk}
	}
	of := c.Collection(d.Collection)
	if of == nil {
		return nil
	}
	if of.Menu == nil && d.Boot.Menu == nil {
		return of.VDisks[:min(1, len(of.VDisks))]
	}
	return of.VDisks[:min(maxChoices, len(of.VDisks))]
}
