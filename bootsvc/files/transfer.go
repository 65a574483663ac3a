package files

import (
	"fmt"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

// Transfer is what became of a request, for the farm's log and for `spate explain`.
type Transfer struct {
	// Service is tftp or http.
	Service string
	MAC     bootsvc.MAC
	Name    Name
	// Sent is what the machine took of Size bytes, in Took.
	Sent, Size int64
	Took       time.Duration
	// Err is why it ended early, nil when it did not.
	Err error
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
		e.Text = fmt.Sprintf("loaded %v: %d bytes in %.1f s", tr.Name, tr.Sent, seconds)
	case tr.Sent == 0 && tr.Size == 0:
		e.Text = fmt.Sprintf("cannot load %v: %v", tr.Name, tr.Err)
	default:
		e.Text = fmt.Sprintf("broke off %v after %d of %d bytes and %.1f s: %v", tr.Name, tr.Sent, tr.Size, seconds, tr.Err)
	}
	t.directory.Note(e)
}

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
