package bootsvc

import (
	"io"
	"net/netip"
	"time"
)

// Directory knows what each machine is to boot. Its methods are called from many goroutines at once and never wait for
// a network or for another server.
type Directory interface {
	// Boot says what a machine is to boot.
	Boot(Client) Entry
	// Farm says what every boot script of this farm names.
	Farm() Farm
	// Open opens a boot file of a version. The caller closes it. A server whose version of that number holds something else
	// than content says, as Choice does, opens nothing; empty, whatever it holds will do. Errors are sentences for people:
	// which vDisk, what is missing, what to do.
	Open(vdisk string, version uint32, content string, file BootFile) (Content, error)
	// Note takes what a service did for a machine, or why it kept silent. It returns at once.
	Note(Event)
}

// Farm is what every boot script names.
type Farm struct {
	Name string
	// Servers are the servers that run boot services, this one first, the others in an order that the machine's MAC
	// address does not change.
	Servers []Server
}

// Server is one server's boot services.
type Server struct {
	Name string
	// Addr is its address on the machines' network; HTTP is the port of its HTTP service.
	Addr netip.Addr
	HTTP uint16
}

// Entry is what one machine is to boot, and why.
type Entry struct {
	// Device and Collection name the machine in the farm; Device is empty for one that is not in the farm file.
	Device, Collection string
	// Refusal is one sentence for the person before the machine; not empty: the machine may not boot.
	Refusal string
	// Silent says that this farm has nothing to do with the machine: it gets no answer at all, for the reason in Why.
	Silent bool
	// Why says in words how the entry came about, for the log and for `spate explain`.
	Why string
	// Address is the one that is reserved for the machine; not valid when there is none. Hostname may be empty.
	Address  netip.Addr
	Hostname string
	// Local says that the machine boots its own disk.
	Local bool
	// Choices are the vDisks that it may boot; several make a menu. Default is an index into them, or len(Choices) for
	// the local disk.
	Choices []Choice
	Default int
	// Timeout is how long the menu waits before it takes the default; 0: for ever.
	Timeout time.Duration
	// LocalDisk offers the local disk in the menu.
	LocalDisk bool
	// SecureBoot says that UEFI machines are sent through Debian's signed shim and GRUB.
	SecureBoot bool
}

// Choice is one version of a vDisk that can be booted.
type Choice struct {
	VDisk   string
	Version uint32
	// Content names what the version holds, in ContentDigits hexadecimal digits: servers may hold another thing under
	// its number, and the kernel of one does not go with the disk of the other. Empty: not known.
	Content string
	// Title is what the menu shows.
	Title string
	// CommandLine is the kernel's, complete but for BOOTIF=, which names the card.
	CommandLine string
	// Missing is a sentence that says why it cannot be booted, such as that it carries no kernel; empty when it can.
	Missing string
}

// ContentDigits is the length of Choice.Content.
const ContentDigits = 16

// BootFile names one of the files that a version carries.
type BootFile string

// The boot files of a version.
const (
	Kernel BootFile = "kernel"
	Image  BootFile = "image" // the boot image: an initramfs
)

// Content is an open file, of which any part can be read by many at the same time.
type Content interface {
	io.ReaderAt
	io.Closer
	// Size is in bytes.
	Size() int64
	// Tag is the same for the same bytes, in hex.
	Tag() string
}

// Event is something that a service did for a machine.
type Event struct {
	MAC MAC
	// Service is dhcp, tftp, http or script.
	Service string
	// Text is one sentence; Problem says that somebody may have to act.
	Text    string
	Problem bool
	// Script says that the machine has asked for its boot script: from here its boot time counts when nothing earlier is known.
	Script bool
	// Firmware says that firmware or a boot loader asks by DHCP, and not a system that runs: a machine that had its script
	// already has been reset.
	Firmware bool
}
