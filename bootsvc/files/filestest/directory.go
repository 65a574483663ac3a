package filestest

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/ipxe"
	"github.com/spate-project/spate/bootsvc/parts"
)

// MAC is that of the machine of the tests.
var MAC = bootsvc.MAC{0x52, 0x54, 0, 0x77, 0, 1}

// Kernel and Image are the boot files of debian12@3, the only version there is. The first FirstPart bytes of Image are enough for
// machines with a virtio card.
var (
	Kernel = pattern(200_003)
	Image  = divided(5 * 1024)
)

// FirstPart is the length of the first part of Image in bytes.
const FirstPart = 4096

func divided(n int) []byte {
	head, err := parts.Head{First: FirstPart, Vendors: []uint16{0x1af4}}.Bytes()
	if err != nil {
		panic(err) // it is written here
	}
	return append(head, pattern(n)[len(head):]...)
}

// Holds is the content of debian12@3.
const Holds = "00112233445566ff"

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}

// Directory is a farm with one vDisk.
type Directory struct {
	mu     sync.Mutex
	events []bootsvc.Event  // guarded by mu
	asked  []bootsvc.Client // guarded by mu
	open   int              // guarded by mu
	// arrived has a token for each event.
	arrived chan struct{}
}

// New makes one.
func New() *Directory { return &Directory{arrived: make(chan struct{}, 4096)} }

// Boot lets everybody boot debian12@3.
func (d *Directory) Boot(c bootsvc.Client) bootsvc.Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, c)
	return bootsvc.Entry{Device: "pc-1", Choices: []bootsvc.Choice{{VDisk: "debian12", Version: 3, Content: Holds, Title: "Debian 12", CommandLine: "quiet"}}}
}

// Farm has one server.
func (d *Directory) Farm() bootsvc.Farm {
	return bootsvc.Farm{Name: "school", Servers: []bootsvc.Server{{Name: "srv-a", Addr: netip.MustParseAddr("192.0.2.1"), HTTP: 6980}}}
}

// Open opens a boot file.
func (d *Directory) Open(vdisk string, version uint32, content string, file bootsvc.BootFile) (bootsvc.Content, error) {
	if vdisk != "debian12" || version != 3 || content != "" && content != Holds {
		return nil, fmt.Errorf("this server does not hold %s@%d; copy it into a store", vdisk, version)
	}
	b := Kernel
	if file == bootsvc.Image {
		b = Image
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open++
	return &open{Reader: bytes.NewReader(b), tag: "feed" + string(file), directory: d}, nil
}

// Note keeps an event.
func (d *Directory) Note(e bootsvc.Event) {
	d.mu.Lock()
	d.events = append(d.events, e)
	d.mu.Unlock()
	d.arrived <- struct{}{}
}

// Event waits for one more event, and gives the newest.
func (d *Directory) Event() bootsvc.Event {
	<-d.arrived
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.events[len(d.events)-1]
}

// Events are all so far.
func (d *Directory) Events() []bootsvc.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]bootsvc.Event(nil), d.events...)
}

// Asked is who asked for an entry.
func (d *Directory) Asked() []bootsvc.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]bootsvc.Client(nil), d.asked...)
}

// Opened is how many boot files are open.
func (d *Directory) Opened() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

type open struct {
	*bytes.Reader
	tag       string
	directory *Directory
}

// Tag is not a hash: the tests know it.
func (c *open) Tag() string { return c.tag }

// Close counts.
func (c *open) Close() error {
	c.directory.mu.Lock()
	defer c.directory.mu.Unlock()
	c.directory.open--
	return nil
}

// Loader is what every loader of Loaders holds.
var Loader = pattern(74_213)

// Loaders installs some loaders in a folder: iPXE for BIOS and UEFI x86-64, shim. The rest is missing.
func Loaders(t testing.TB) ipxe.Loaders {
	t.Helper()
	root := t.TempDir()
	for _, path := range []string{"usr/lib/ipxe/undionly.kpxe", "usr/lib/ipxe/snponly.efi", "usr/lib/shim/shimx64.efi.signed"} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, Loader, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return ipxe.NewLoaders(root)
}
