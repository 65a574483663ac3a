package vdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

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

// readBoot reads the table and the command line. What is wrong with them is remembered: the disk is good without them.
func (v *Version) readBoot() {
	if v.seal.boot != (bootPlace{}) {
		_ = v.loadBoot()
	}
}

// loadBoot reads table and command line again, and gives what is wrong with the table.
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
			if v.learnBoot(e.kind, err) == nil {
				line = string(b)
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

// readFile fills b from an offset in a boot file. Errors are *bootFault and *readError.
func (v *Version) readFile(b []byte, e bootEntry, off int64) error {
	_, err := v.data.ReadAt(b, e.offset+off)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return &bootFault{e.kind, "the file was cut"}
	}
	return &readError{err}
}

// learnBoot is learn for a boot file: it remembers what a look at it has found, and gives what there is to say.
func (v *Version) learnBoot(kind BootKind, err error) error {
	var fault *bootFault
	var unread *readError
	switch {
	case err == nil:
		if v.damage.clear(bootLevel, int64(kind)) {
			v.noticed()
		}
		return nil
	case errors.As(err, &fault):
	case errors.As(err, &unread) && v.local(unread.err):
		fault = &bootFault{kind, unreadable(unread.err)}
	default:
		v.damage.note(bootLevel, int64(kind), unreadable(err), false)
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
	if v.loadBoot() == nil {
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
			_ = v.learnBoot(e.kind, err)
		}
	}
	for _, d := range v.damage.list() {
		if d.Boot {
			bad = append(bad, d)
		}
	}
	return done, bad
}

// bootFiles is the number of boot files that there are.
func (v *Version) bootFiles() int {
	v.boot.mu.Lock()
	defer v.boot.mu.Unlock()
	return len(v.boot.table)
}

// errEnded means that step ended a look at a boot file.
var errEnded = errors.New("ended")

// bootSums reads a boot file whole, checks it, and gives the hash of each of its blocks. Errors are *bootFault, *readError
// and errEnded.
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

// BootFile is an open boot file of a version. All methods are safe for concurrent use. Until it is closed it is a reader of
// its version, whatever becomes of the version's file.
//
// Every byte that ReadAt gives was checked by that call: opening the file for the first time reads it whole, checks it
// against the seal, and keeps a hash of each 64 KiB; each read checks the pieces that it touches against these.
type BootFile struct {
	v      *Version
	entry  bootEntry
	sums   []tree.Hash
	closed atomic.Bool

	mu sync.Mutex
	// guarded by mu: the piece that a short read has checked last, for the next one.
	piece []byte
	index int64
}

// OpenBoot opens a boot file. The first time it reads the file whole. The caller closes it. The error is a *BootError when
// any boot file of this replica is damaged, wraps ErrNoBootFile when the version has none of that kind, or is one of the
// system's.
func (v *Version) OpenBoot(kind BootKind) (*BootFile, error) {
	if !v.retain() {
		return nil, fmt.Errorf("%s version %d: %w", v.seal.name, v.seal.number, fs.ErrClosed)
	}
	f, err := v.openBoot(kind)
	if err != nil {
		v.Close()
		return nil, err
	}
	return f, nil
}

func (v *Version) openBoot(kind BootKind) (*BootFile, error) {
	b := &v.boot
	b.checking.Lock()
	defer b.checking.Unlock()
	b.mu.Lock()
	table, sums := b.table, b.sums[kind]
	b.mu.Unlock()
	if table == nil && v.seal.boot != (bootPlace{}) {
		// It could not be read before; it may be now.
		if err := v.loadBoot(); err != nil {
			return nil, err
		}
		b.mu.Lock()
		table = b.table
		b.mu.Unlock()
	}
	if bad := v.bootProblem(table); bad != nil {
		return nil, bad
	}
	for _, e := range table {
		if e.kind != kind {
			continue
		}
		if sums == nil {
			var err error
			sums, err = v.bootSums(e, func(int64) error { return nil })
			if err = v.learnBoot(kind, err); err != nil {
				return nil, err
			}
			b.mu.Lock()
			if b.sums == nil {
				b.sums = map[BootKind][]tree.Hash{}
			}
			b.sums[kind] = sums
			b.mu.Unlock()
		}
		return &BootFile{v: v, entry: e, sums: sums, index: -1}, nil
	}
	return nil, fmt.Errorf("%s version %d, %v: %w", v.seal.name, v.seal.number, kind, ErrNoBootFile)
}

// OpenBoot opens a boot file of a version, which stays open until the file is closed. The error is ErrNotHere when the
// store does not list the version, else one of those of Version.OpenBoot.
func (s *Store) OpenBoot(name string, number uint32, kind BootKind) (*BootFile, error) {
	v, err := s.Acquire(name, number)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.OpenBoot(kind)
}

// Size is in bytes.
func (f *BootFile) Size() int64 { return f.entry.size }

// Tag is the BLAKE3-256 of the file, in hex.
func (f *BootFile) Tag() string { return f.entry.hash.String() }

// Close ends the use of the version. Nobody may read then, or begin to. Closing again does nothing.
func (f *BootFile) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	return f.v.Close()
}

// ReadAt reads from an offset. What it gives was checked; a *BootError says that there is damage, which is fenced then.
func (f *BootFile) ReadAt(p []byte, off int64) (n int, err error) {
	if f.closed.Load() {
		return 0, fs.ErrClosed
	}
	if off < 0 {
		return 0, fmt.Errorf("read the %v of %s at %d: %w", f.entry.kind, f.v.seal.name, off, fs.ErrInvalid)
	}
	for n < len(p) && off < f.entry.size {
		k, err := f.readPiece(p[n:], off)
		n += k
		off += int64(k)
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPiece reads at most up to the end of the piece that holds off, which is within the file.
func (f *BootFile) readPiece(p []byte, off int64) (int, error) {
	index := off / bootBlock
	start := index * bootBlock
	length := int(min(bootBlock, f.entry.size-start))
	if off == start && len(p) >= length {
		if err := f.load(p[:length], index); err != nil {
			return 0, err
		}
		return length, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.index != index {
		f.index = -1
		if f.piece == nil {
			f.piece = make([]byte, min(bootBlock, f.entry.size))
		}
		if err := f.load(f.piece[:length], index); err != nil {
			return 0, err
		}
		f.index = index
	}
	return copy(p, f.piece[off-start:length]), nil
}

// load reads a piece into b and checks it.
func (f *BootFile) load(b []byte, index int64) error {
	err := f.v.readFile(b, f.entry, index*bootBlock)
	if err == nil && tree.Sum(b) != f.sums[index] {
		err = &bootFault{f.entry.kind, otherHash}
	}
	if err == nil {
		return nil
	}
	return f.v.learnBoot(f.entry.kind, err)
}
