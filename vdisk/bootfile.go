package vdisk

import (
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/spate-project/spate/vdisk/tree"
)

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
