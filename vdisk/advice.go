package vdisk

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Advice says what to do about damage of a version in the file at path, which is not known to be all.
func (d Damage) Advice(name string, number uint32, path string) string {
	remedy := d.Remedy(name, number, path)
	if d.Level < 0 {
		return remedy
	}
	return fmt.Sprintf("to list all that is bad: spate vdisk verify %s@%d --store %s; then %s", name, number, quote(filepath.Dir(path)), remedy)
}

// Remedy says how to undo damage of a version in the file at path. A good copy is moved over the file and not written
// into it: who reads the old one then reads on, and nobody sees half a file.
func (d Damage) Remedy(name string, number uint32, path string) string {
	switch {
	case d.Level < 0 && d.Part != sealPart && !d.Boot:
		return fmt.Sprintf("nothing is lost, one good copy of the seal is enough; to write it again: spate vdisk adopt %s@%d --store %s --like %s",
			name, number, quote(filepath.Dir(path)), quote(path))
	case (d.Level >= 0 || d.Boot) && !d.Fenced:
		return "look into the system's log whether the disk fails; if it does, copy the file of a server whose copy is sound to a disk that works"
	case (d.Level >= 0 || d.Boot) && strings.Contains(d.Reason, unreadablePrefix):
		return fmt.Sprintf("copy the file of a server whose copy is sound beside %s, and mv it over; look into the system's log "+
			"whether the disk goes on failing", quote(path))
	}
	return fmt.Sprintf("copy the file of a server whose copy is sound beside %s, and mv it over", quote(path))
}

// What to do about a file that should be a version.
const (
	adviceReplace = "copy the file of a server whose copy is sound beside it, and mv it over; or remove it"
	adviceWait    = "wait until it is copied whole; if nothing copies it, " + adviceReplace
	adviceNewer   = "install the newer release on this server"
	adviceParent  = "copy the version that it needs into this store, too"
	adviceSystem  = "look into the permissions of the file, and into the system's log for its disk"
	adviceRename  = "rename it"
	adviceOther   = "a disk image is brought into a store by spate vdisk import; anything else does not belong here"
)

// Advice says what to do about a file that Open refuses with this error.
func Advice(err error) string {
	var needs *NeedsVersionError
	switch {
	case errors.Is(err, ErrIncomplete):
		return adviceWait
	case errors.Is(err, ErrDamaged):
		return adviceReplace
	case errors.Is(err, ErrNewer):
		return adviceNewer
	case errors.Is(err, ErrNotVDisk):
		return adviceOther
	case errors.As(err, &needs):
		return adviceParent
	}
	return adviceSystem
}
