package vdisk

import (
	"errors"
	"io"
	"sync"

	"github.com/spate-project/spate/vdisk/tree"
	"github.com/zeebo/blake3"
)

// bootBlock is how much of a boot file is checked at once when it is read, in bytes; bootStep is a multiple of it.
const bootBlock = 64 << 10

// boot is what a version carries for booting, as far as it was looked at.
type boot struct {
	checking sync.Mutex // held while a file is read for the first time; taken before mu
	mu       sync.Mutex
	// guarded by mu:
	table []bootEntry // checked against the seal; nil while there is none
	line  string      // the command line, checked
	sums  map[BootKind][]tree.Hash
}

// bootFault says what is wrong with a boot file.
type bootFault struct {
	kind   BootKind
	reason string
}

func (e *bootFault) Error() string { return e.kind.String() + ": " + e.reason }

// readBoot reads the table and the command line. Damage of them is remembered: the disk is good without them. The error is
// one of the system's.
func (v *Version) readBoot() error {
	if v.seal.boot == (bootPlace{}) {
		return nil
	}
	err := v.loadBoot()
	if bad := (*BootError)(nil); errors.As(err, &bad) {
		return nil
	}
	return err
}

// loadBoot reads table and command line again. The error is a *BootError when the table is damaged, or the system's.
func (v *Version) loadBoot() error {
	table, err := v.bootTable()
	if err = v.learnBoot(bootTable, err); err != nil {
		return err
	}
	line := ""
	for _, e := range table {
		if e.kind == BootCommandLine {
			b := make([]byte, e.size)
			err := v.readFile(b, e, 0)
			if err == nil && tree.Sum(b) != e.hash {
				err = &bootFault{e.kind, otherHash}
			}
			if err == nil && CheckCommandLine(string(b)) != nil {
				err = &bootFault{e.kind, "is not printable"}
			}
			bad := (*BootError)(nil)
			switch err = v.learnBoot(e.kind, err); {
			case err == nil:
				line = string(b)
			case !errors.As(err, &bad):
				return err
			}
		}
	}
	v.boot.mu.Lock()
	defer v.boot.mu.Unlock()
	v.boot.table, v.boot.line = table, line
	return nil
}

const otherHash = "has another hash than it had when it was sealed"

// bootTable reads the table and checks it against the seal.
func (v *Version) bootTable() ([]bootEntry, error) {
	at := v.seal.boot
	b := make([]byte, min(maxBootTable, at.length))
	if err := v.readFile(b, bootEntry{offset: at.offset}, 0); err != nil {
		return nil, err
	}
	table, err := parseBootTable(b, at.offset, at.length)
	if err == nil && bootDigest(table) != at.digest {
		err = errBootDigest
	}
	if err != nil {
		return nil, &bootFault{bootTable, err.Error()}
	}
	return table, nil
}

// readFile fills b from an offset in a boot file. It looks twice at a place that the disk cannot read, and calls it bad then.
// Errors are *bootFault and the system's.
func (v *Version) readFile(b []byte, e bootEntry, off int64) error {
	_, err := v.data.ReadAt(b, e.offset+off)
	if badPlace(err) && v.local(err) {
		if _, err = v.data.ReadAt(b, e.offset+off); badPlace(err) {
			return &bootFault{e.kind, unreadable(err)}
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return &bootFault{e.kind, "the file was cut"}
	}
	v.failed()
	return err
}

// learnBoot is learn for a boot file: it remembers what a look at it has found, and gives what there is to say.
func (v *Version) learnBoot(kind BootKind, err error) error {
	var fault *bootFault
	switch {
	case err == nil:
		if v.damage.clear(bootLevel, int64(kind)) {
			v.noticed()
		}
		return nil
	case !errors.As(err, &fault):
		return v.unread(err)
	}
	if v.damage.note(bootLevel, int64(kind), fault.reason, true) {
		v.noticed()
	}
	return v.bootError(kind, fault.reason)
}

func (v *Version) bootError(kind BootKind, reason string) *BootError {
	return &BootError{Name: v.seal.name, Version: v.seal.number, Path: v.path, Kind: kind, Reason: reason}
}

// bootProblem gives the first damage for which nothing is booted from this replica.
func (v *Version) bootProblem(table []bootEntry) *BootError {
	if reason, bad := v.damage.fencedAt(bootLevel, int64(bootTable)); bad {
		return v.bootError(bootTable, reason)
	}
	for _, e := range table {
		if reason, bad := v.damage.fencedAt(bootLevel, int64(e.kind)); bad {
			return v.bootError(e.kind, reason)
		}
	}
	return nil
}

// Boot tells what the version carries for booting. It reads nothing.
func (v *Version) Boot() BootInfo {
	v.boot.mu.Lock()
	table, line := v.boot.table, v.boot.line
	v.boot.mu.Unlock()
	info := describeBoot(v.seal.boot.digest, table, line)
	if bad := v.bootProblem(table); bad != nil {
		info.Problem = bad.Error()
	}
	return info
}

func describeBoot(digest tree.Hash, table []bootEntry, line string) BootInfo {
	info := BootInfo{Digest: digest, CommandLine: line}
	for _, e := range table {
		file := BootFileInfo{e.size, e.hash}
		switch e.kind {
		case BootKernel:
			info.Kernel = file
		case BootImage:
			info.Image = file
		case BootCommandLine:
		default:
			info.Others++
		}
	}
	return info
}

// checkBoot reads the boot section again and checks it. It gives the bytes of files that it has read and what is wrong with
// them. Damaged files are fenced, good ones no longer are. step is told the bytes so far and can end the look early.
func (v *Version) checkBoot(step func(done int64) error) (done int64, bad []Damage) {
	if v.seal.boot == (bootPlace{}) {
		return 0, nil
	}
	if err := v.loadBoot(); err != nil {
		v.unlooked(bootTable, err)
	} else {
		v.boot.mu.Lock()
		table := v.boot.table
		v.boot.mu.Unlock()
		for _, e := range table {
			before := done
			_, err := v.bootSums(e, func(n int64) error {
				done = before + n
				return step(done)
			})
			if errors.Is(err, errEnded) {
				return done, nil
			}
			v.unlooked(e.kind, v.learnBoot(e.kind, err))
		}
	}
	for _, d := range v.damage.list() {
		if d.Boot {
			bad = append(bad, d)
		}
	}
	return done, bad
}

// unlooked notes that a look at a boot file ended with an error of the system, which nothing wrong can come of.
func (v *Version) unlooked(kind BootKind, err error) {
	if bad := (*BootError)(nil); err != nil && !errors.As(err, &bad) {
		v.damage.note(bootLevel, int64(kind), unreadable(err), false)
	}
}

// bootFiles is the number of boot files that there are.
func (v *Version) bootFiles() int {
	v.boot.mu.Lock()
	defer v.boot.mu.Unlock()
	return len(v.boot.table)
}

// errEnded means that step ended a look at a boot file.
var errEnded = errors.New("ended")

// bootSums reads a boot file whole, checks it, and gives the hash of each of its blocks. Errors are *bootFault, errEnded
// and the system's.
func (v *Version) bootSums(e bootEntry, step func(done int64) error) ([]tree.Hash, error) {
	h := blake3.New()
	sums := make([]tree.Hash, 0, (e.size+bootBlock-1)/bootBlock)
	buf := make([]byte, min(e.size, bootStep))
	for off := int64(0); off < e.size; {
		b := buf[:min(e.size-off, int64(len(buf)))]
		if err := v.readFile(b, e, off); err != nil {
			return nil, err
		}
		off += int64(len(b))
		_, _ = h.Write(b) // a hash cannot fail
		for ; len(b) > 0; b = b[min(bootBlock, len(b)):] {
			sums = append(sums, tree.Sum(b[:min(bootBlock, len(b))]))
		}
		if step(off) != nil {
			return nil, errEnded
		}
	}
	var sum tree.Hash
	if h.Sum(sum[:0]); sum != e.hash {
		return nil, &bootFault{e.kind, otherHash}
	}
	return sums, nil
}
