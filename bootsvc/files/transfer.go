package files

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

// Transfer is what became of a request, for the farm's log and for `spate explain`.
type Transfer struct {
	// Service is tftp or http.
	Service string
	MAC     bootsvc.MAC
	Name    Name
	// Part says that it was the first part of a boot image only, which is what Size is of.
	Part bool
	// Sent is what the machine took of Size bytes, in Took.
	Sent, Size int64
	Took       time.Duration
	// Err is why it ended early, nil when it did not.
	Err error
}

// What is what people call the thing that was sent.
func (tr Transfer) What() string {
	if tr.Part {
		return tr.Name.String() + " without the drivers of other cards"
	}
	return tr.Name.String()
}

// Note tells the farm.
func (t *Tree) Note(tr Transfer) {
	e := bootsvc.Event{MAC: tr.MAC, Service: tr.Service, Problem: tr.Err != nil}
	if tr.Err == nil && (tr.Name.Kind == Script || tr.Name.Kind == GRUB) {
		e.Service, e.Script = "script", true
	}
	seconds := tr.Took.Seconds()
	switch {
	case tr.Err == nil:
		e.Text = fmt.Sprintf("loaded %s: %d bytes in %.1f s", tr.What(), tr.Sent, seconds)
	case tr.Sent == 0 && tr.Size == 0:
		e.Text = fmt.Sprintf("cannot load %v: %v", tr.Name, tr.Err)
	default:
		e.Text = fmt.Sprintf("broke off %s after %d of %d bytes and %.1f s: %v", tr.What(), tr.Sent, tr.Size, seconds, tr.Err)
	}
	t.directory.Note(e)
}

// Missing tells the farm that a machine, if caller knows which one, asks for a name that does not exist: firmware asks for what some DHCP
// server names. It is told, and caller asked, at most once a second. What loaders look for by themselves, and do without, is not told.
func (t *Tree) Missing(service, name string, now time.Time, caller func() (bootsvc.MAC, bool)) {
	plain := strings.TrimPrefix(name, "/")
	if slices.ContainsFunc(companions, func(begin string) bool { return strings.HasPrefix(plain, begin) }) {
		return
	}
	if last := t.missed.Load(); last == now.Unix() || !t.missed.CompareAndSwap(last, now.Unix()) {
		return
	}
	if mac, known := caller(); known {
		t.directory.Note(bootsvc.Event{MAC: mac, Service: service, Problem: true,
			Text: fmt.Sprintf("asks for %.80q, and there is no such file; spated pxe-check shows which DHCP server names which file", name)})
	}
}

// companions are how the names begin of what loaders look for by themselves: GRUB lists of its modules, shim newer revocations and
// certificates, iPXE a script.
var companions = []string{bootsvc.FolderGRUB, "revocations", "shim_certificate", "autoexec.ipxe", bootsvc.FolderIPXE + "autoexec.ipxe"}

// String is what people call the thing.
func (n Name) String() string {
	switch n.Kind {
	case Loader:
		return n.Loader
	case AnyScript:
		return "the script of any machine"
	case AnyGRUB:
		return "GRUB's configuration of any machine"
	case Script:
		return "its boot script"
	case GRUB:
		return "its GRUB configuration"
	case BootFile:
		what := "boot image"
		if n.File == bootsvc.Kernel {
			what = "kernel"
		}
		return fmt.Sprintf("the %s of %s@%d", what, n.VDisk, n.Version)
	}
	return "nothing"
}
