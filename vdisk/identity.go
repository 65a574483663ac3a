package vdisk

import "github.com/spate-project/spate/vdisk/tree"

// Facts is what tells replicas apart: those whose facts are equal are identical, and only they are eligible for one
// another's targets.
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
