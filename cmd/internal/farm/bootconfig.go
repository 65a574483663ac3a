package farm

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/spate-project/spate/cmd/internal/bootline"
)

// Boot says how machines boot in a farm.
type Boot struct {
	DHCP DHCP
	// HTTP is the TCP port of the boot services.
	HTTP uint16
	// TFTP serves firmware that knows nothing better.
	TFTP Switch
	// SecureBoot sends UEFI machines through Debian's signed shim and GRUB; off, they get iPXE.
	SecureBoot Switch
	// RouterAdvertisement spares machines that boot the time in which iPXE asks for routers of IPv6, where there are none.
	RouterAdvertisement Switch
	// Subnets are what the DHCP server gives out.
	Subnets []Subnet
}

// DHCP says which part of DHCP the servers of a farm play.
type DHCP string

// The parts in DHCP.
const (
	DHCPOff    DHCP = "off"    // none: another DHCP server names the boot file
	DHCPServer DHCP = "server" // addresses and boot files
	DHCPProxy  DHCP = "proxy"  // boot files only, beside the DHCP server of somebody else
)

// Subnet is a network of machines and what they are told about it.
type Subnet struct {
	Network netip.Prefix
	Pools   []Range
	// Router is not valid when there is none; Domain may be empty.
	Router netip.Addr
	DNS    []netip.Addr
	Domain string
	Lease  time.Duration
}

// Range is the addresses from First to Last, both included.
type Range struct{ First, Last netip.Addr }

// Contains tells whether an address lies in the range.
func (r Range) Contains(a netip.Addr) bool { return a.Compare(r.First) >= 0 && a.Compare(r.Last) <= 0 }

// size is how many addresses it has.
func (r Range) size() float64 {
	number := func(a netip.Addr) float64 { b := a.As4(); return float64(binary.BigEndian.Uint32(b[:])) }
	return number(r.Last) - number(r.First) + 1
}

// String is the range as people write it.
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// ServerBoot says where a server runs the boot services.
type ServerBoot struct {
	// Address is the server's on the machines' network.
	Address netip.Addr
	// Interface names the card; empty means the one that has the address.
	Interface string
}

// BootWay says what becomes of a machine that starts.
type BootWay string

// The ways of a machine that starts.
const (
	BootVDisk BootWay = "vdisk"
	BootLocal BootWay = "local" // its own disk
	BootDeny  BootWay = "deny"
)

// Menu is what a person before the machine can choose from.
type Menu struct {
	// Default is what starts by itself; the zero value means the first vDisk. Local stands for the local disk.
	Default Wanted
	Local   bool
	// Timeout is how long the menu waits before it takes the default; 0 means for ever.
	Timeout time.Duration
	// LocalDisk offers the machine's own disk.
	LocalDisk bool
}

// Booting is what a collection says about the start of its devices.
type Booting struct {
	// Menu is nil when there is none: devices get what is assigned to them.
	Menu *Menu
	// Shell lets a person have a shell when the start has failed.
	Shell bool
	// CommandLine is added to that of the vDisk.
	CommandLine string
	// CacheBytes is the size of the write cache in memory, CachePercent its part of the memory; both 0: as usual.
	CacheBytes   int64
	CachePercent int
	// Root says who keeps the writes of the root file system; empty: as usual.
	Root bootline.Root
	// SecureBoot is empty where the farm's setting counts.
	SecureBoot Switch
}

// DeviceBoot is what a device says about its own start.
type DeviceBoot struct {
	// Way is empty where nothing was said.
	Way BootWay
	// Address is reserved for the device; not valid when none is. Hostname may be empty.
	Address  netip.Addr
	Hostname string
	// Menu replaces the collection's.
	Menu        *Menu
	CommandLine string
	SecureBoot  Switch
}

// The boot values of a farm file that says nothing about them.
const (
	defaultBootPort = 6980
	defaultLease    = time.Hour
	defaultMenuWait = 10 * time.Second
)

// The bounds of what a farm file says about booting.
const (
	minLease         = 2 * time.Minute
	maxLease         = 30 * 24 * time.Hour
	maxMenuWait      = time.Hour
	maxSubnets       = 64
	maxPools         = 16
	maxPooled        = 1 << 16 // addresses in all pools
	maxNameServers   = 4
	maxChoices       = 16   // vDisks of one device: more do not fit a screen with their titles
	maxInterfaceName = 15   // IFNAMSIZ, less the zero
	maxCommandLine   = 1024 // of one collection or device; Linux on x86 reads 2048 bytes in all
	maxDomainBytes   = 253
	maxHostnameBytes = 63
	shortestPrefix   = 8  // of a subnet
	longestPrefix    = 30 // two machines
)
