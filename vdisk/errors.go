package vdisk

import (
	"errors"
	"fmt"

	"github.com/spate-project/spate/vdisk/tree"
)

// Reasons for which a file is not a usable version. Errors of Open wrap one of them, or one of the system's.
var (
	// ErrNotVDisk means that the file is something else.
	ErrNotVDisk = errors.New("not a sealed vDisk")
	// ErrIncomplete means that the file has no seal at its end: it is still being copied, or was cut.
	ErrIncomplete = errors.New("incomplete")
	// ErrDamaged means that what describes the file contradicts itself or its checksum.
	ErrDamaged = errors.New("damaged")
	// ErrNewer means that a newer release of the program wrote the file.
	ErrNewer = errors.New("written by a newer release")
)

// ErrRange means that a caller asked for objects that the disk does not have.
var ErrRange = errors.New("no such object on this vDisk")

// ErrClosed means that a Writer was used after Commit or Abort.
var ErrClosed = errors.New("writer is closed")

// ErrExists means that a version, or an import's name, is there already.
var ErrExists = errors.New("exists already")

// DamagedError names an object that this replica cannot give: fenced, or not to be located or read whole.
type DamagedError struct {
	Level  int
	Index  int64
	Reason string
}

// Error names the object and the reason.
func (e *DamagedError) Error() string {
	return object(e.Level, e.Index) + " is damaged: " + e.Reason
}

// Is makes errors.Is(err, ErrDamaged) true.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

// object names an object for people.
func object(level int, index int64) string {
	switch level {
	case bootLevel:
		return BootKind(index).String()
	case 0:
		return fmt.Sprintf("chunk %d", index)
	}
	return fmt.Sprintf("index page %d of level %d", index, level)
}

// NeedsVersionError means that a version is a delta and the version it builds on is not there.
type NeedsVersionError struct {
	Name   string
	Number uint32 // the delta
	Parent Parent // what it needs
}

// Error says which version is needed.
func (e *NeedsVersionError) Error() string {
	return fmt.Sprintf("%s version %d needs version %d (root %s) and cannot be read without it",
		e.Name, e.Number, e.Parent.Number, e.Parent.Root.Short())
}

// Parent names the version that a delta builds on.
type Parent struct {
	Number uint32
	ID
}

// ID is the identity of a version: what its disk holds, and when it was sealed or last adopted. Replicas are
// interchangeable only when both are equal.
type ID struct {
	Root      tree.Hash
	Timestamp int64 // nanoseconds since 1970
}
