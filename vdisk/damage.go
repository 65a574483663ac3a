package vdisk

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// maxDamage bounds how many damaged objects of a version are remembered. A replica with more is beyond
// repair by pieces; whatever else is wrong in it is found again when it is read.
const maxDamage = 1 << 16

// sealPart is the part when the seal says something else than the disk's bytes. One damaged slot of two is another part.
const sealPart = "seal"

// Damage is one thing that is wrong with a replica.
type Damage struct {
	Part   string // "header", "seal slot 0", "chunk 17", "index page 3 of level 1", …
	Level  int    // of the object; -1 where it is no object
	Index  int64
	Fenced bool // it is not served
	Boot   bool // a boot file: the disk is served, but nothing is booted from this replica while it is fenced
	Reason string
}

type objectKey struct {
	level int
	index int64
}

// damage remembers what is wrong with the objects of a version.
type damage struct {
	fenced atomic.Int64 // number of fenced objects; readers look no further while it is 0
	mu     sync.RWMutex
	// found is guarded by mu.
	found map[objectKey]Damage
}

// refuse gives an error when one of the objects is fenced.
func (d *damage) refuse(level int, first int64, count int) error {
	if d.fenced.Load() == 0 {
		return nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i := first; i < first+int64(count); i++ {
		if have, ok := d.found[objectKey{level, i}]; ok && have.Fenced {
			return &DamagedError{level, i, have.Reason}
		}
	}
	return nil
}

// note remembers that an object is bad; fence says that it must not be served. It tells whether that is news.
func (d *damage) note(level int, index int64, reason string, fence bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := objectKey{level, index}
	have, known := d.found[key]
	if !known && len(d.found) >= maxDamage {
		return false
	}
	if d.found == nil {
		d.found = make(map[objectKey]Damage)
	}
	if fence && !have.Fenced {
		d.fenced.Add(1)
	}
	now := Damage{
		Part: object(level, index), Level: level, Index: index, Fenced: fence || have.Fenced, Boot: level == bootLevel,
		Reason: reason,
	}
	d.found[key] = now
	return now != have
}

// clear forgets an object that was found good, and tells whether it was known as bad.
func (d *damage) clear(level int, index int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := objectKey{level, index}
	have, known := d.found[key]
	if have.Fenced {
		d.fenced.Add(-1)
	}
	delete(d.found, key)
	return known
}

// fencedAt gives the reason for which an object is fenced, and whether it is.
func (d *damage) fencedAt(level int, index int64) (reason string, fenced bool) {
	if d.fenced.Load() == 0 {
		return "", false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	have := d.found[objectKey{level, index}]
	return have.Reason, have.Fenced
}

func (d *damage) list() []Damage {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]Damage, 0, len(d.found))
	for _, f := range d.found {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Index, b.Index))
	})
	return all
}

// Damage lists what is known to be wrong with this replica: header and seal first, then boot files, then objects by level
// and index. It says what was found so far, by Open, Check, Scrub and Verify; it looks for nothing.
func (v *Version) Damage() []Damage {
	var all []Damage
	for i, part := range []string{"seal slot 0", "seal slot 1", "header"} {
		if err := v.sealErr[i]; err != nil {
			all = append(all, Damage{Part: part, Level: -1, Reason: err.Error()})
		}
	}
	return append(all, v.damage.list()...)
}
