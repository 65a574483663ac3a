package vdisk

import (
	"fmt"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
)

// Facts is what tells replicas apart.
type Facts struct {
	Name   string
	Number uint32
	ID
	Logical tree.Hash // of the disk's bytes
}

// Facts gives those of this replica.
func (v *Version) Facts() Facts {
	return Facts{v.seal.name, v.seal.number, v.seal.id, v.seal.logical}
}

// Likeness is how alike two replicas are.
type Likeness int

// From interchangeable to unrelated. Only the first makes a replica eligible for another's targets.
const (
	Identical   Likeness = iota // same name, version, root and timestamp
	SameContent                 // same root, other timestamp
	SameDisk                    // same disk, stored differently
	Different                   // other bytes, or another vDisk or version
)

// String gives the likeness in words.
func (l Likeness) String() string {
	switch l {
	case Identical:
		return "identical"
	case SameContent:
		return "same content, other timestamp"
	case SameDisk:
		return "same disk, stored differently"
	}
	return "different"
}

// Compare says how alike two replicas are, and in a sentence what that means and what to do; the sentence is
// empty for identical ones.
func Compare(a, b Facts) (Likeness, string) {
	switch {
	case a.Name != b.Name || a.Number != b.Number:
		return Different, fmt.Sprintf("%s version %d and %s version %d are not the same version", a.Name, a.Number, b.Name, b.Number)
	case a.ID == b.ID:
		return Identical, ""
	case a.Root == b.Root:
		return SameContent, fmt.Sprintf("both hold the content %s, sealed at %s and at %s; adopt one of them: spate vdisk adopt",
			a.Root.Short(), stampText(a.Timestamp), stampText(b.Timestamp))
	case a.Logical == b.Logical:
		return SameDisk, fmt.Sprintf("both hold the disk %s, stored differently (roots %s and %s), so their chunks cannot be "+
			"mixed; copy the file of one to the other store", a.Logical.Short(), a.Root.Short(), b.Root.Short())
	}
	return Different, fmt.Sprintf("they hold other bytes (roots %s and %s) under the name %s version %d; import one of them "+
		"under a new version", a.Root.Short(), b.Root.Short(), a.Name, a.Number)
}

// stampText writes a timestamp for people, exact enough to tell two apart.
func stampText(ns int64) string {
	return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000000 UTC")
}
