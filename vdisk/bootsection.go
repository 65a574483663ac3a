package vdisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/spate-project/spate/vdisk/tree"
	"github.com/zeebo/blake3"
)

const (
	bootMagic     = "SpateBoo"
	bootHead      = 16
	bootEntrySize = 64
	// maxBootFiles bounds the files of a section, those of unknown kinds included.
	maxBootFiles = 16
	maxBootTable = bootHead + maxBootFiles*bootEntrySize

	bootDomain = "spate vdisk boot"

	// sealBoot is where a seal slot has the place of the section.
	sealBoot = 281
)

// bootPlace is what a seal says about the boot section. The zero value means that there is none.
type bootPlace struct {
	offset, length int64 // bytes
	digest         tree.Hash
}

// end is where the blocks of the section end, at the seal.
func (p bootPlace) end() int64 { return (p.offset + p.length + blockSize - 1) / blockSize * blockSize }

func (p bootPlace) put(b []byte) {
	binary.LittleEndian.PutUint64(b[7:], uint64(p.offset))
	binary.LittleEndian.PutUint64(b[15:], uint64(p.length))
	copy(b[23:], p.digest[:])
}

// bootPlaceSize is the length of what put writes.
const bootPlaceSize = 23 + tree.HashSize

// parseBootPlace reads the place of the section of a file whose seal begins at end. It accepts nothing but the zero place
// and one that put would write.
func parseBootPlace(b []byte, end int64) (bootPlace, bool) {
	p := bootPlace{offset: int64(binary.LittleEndian.Uint64(b[7:])), length: int64(binary.LittleEndian.Uint64(b[15:]))}
	copy(p.digest[:], b[23:])
	if !tree.IsZero(b[:7]) {
		return bootPlace{}, false
	}
	if p == (bootPlace{}) {
		return p, true
	}
	return p, p.offset >= dataStart && p.offset%blockSize == 0 && p.length > bootHead+bootEntrySize && p.offset <= end-p.length &&
		p.end() == end && p.digest != (tree.Hash{})
}

// bootEntry is one file of a section.
type bootEntry struct {
	kind   BootKind
	size   int64
	offset int64 // in the file of the version
	hash   tree.Hash
}

// bootTableSize is the length of the table of n files, behind which the first of them begins.
func bootTableSize(n int) int { return bootHead + n*bootEntrySize }

// encodeBootTable makes the table in front of the files.
func encodeBootTable(entries []bootEntry) []byte {
	b := make([]byte, bootTableSize(len(entries)))
	le := binary.LittleEndian
	copy(b, bootMagic)
	le.PutUint32(b[8:], uint32(len(entries)))
	for i, e := range entries {
		at := b[bootHead+i*bootEntrySize:]
		le.PutUint32(at, uint32(e.kind))
		le.PutUint64(at[8:], uint64(e.size))
		le.PutUint64(at[16:], uint64(e.offset))
		copy(at[24:], e.hash[:])
	}
	le.PutUint32(b[12:], checksum(b, 12))
	return b
}

var (
	errBootSum    = errors.New("checksum is wrong")
	errBootForm   = errors.New("makes no sense")
	errBootDigest = errors.New("is another one than the seal says")
)

// parseBootTable reads the table at the beginning of b, of a section at offset of length bytes. It accepts nothing that
// encodeBootTable would not write: files in the order of their kinds, each kind once, without gaps.
func parseBootTable(b []byte, offset, length int64) ([]bootEntry, error) {
	le := binary.LittleEndian
	if len(b) < bootHead || string(b[:8]) != bootMagic {
		return nil, errBootForm
	}
	n := le.Uint32(b[8:])
	if n < 1 || n > maxBootFiles || len(b) < bootTableSize(int(n)) {
		return nil, errBootForm
	}
	b = b[:bootTableSize(int(n))]
	if checksum(b, 12) != le.Uint32(b[12:]) {
		return nil, errBootSum
	}
	entries := make([]bootEntry, n)
	next, last := offset+int64(len(b)), bootTable
	for i := range entries {
		at := b[bootHead+i*bootEntrySize:][:bootEntrySize]
		e := bootEntry{kind: BootKind(le.Uint32(at)), size: int64(le.Uint64(at[8:])), offset: int64(le.Uint64(at[16:]))}
		copy(e.hash[:], at[24:])
		if e.kind <= last || e.size < 1 || e.size > e.kind.limit() || e.offset != next || !tree.IsZero(at[4:8]) || !tree.IsZero(at[56:]) {
			return nil, errBootForm
		}
		entries[i], last, next = e, e.kind, next+e.size
	}
	if next != offset+length {
		return nil, errBootForm
	}
	return entries, nil
}

// bootDigest names what a section holds, wherever it lies.
func bootDigest(entries []bootEntry) (digest tree.Hash) {
	h := blake3.New()
	var b [12 + tree.HashSize]byte
	_, _ = h.Write(binary.LittleEndian.AppendUint32([]byte(bootDomain), uint32(len(entries)))) // a hash cannot fail
	for _, e := range entries {
		binary.LittleEndian.PutUint32(b[0:], uint32(e.kind))
		binary.LittleEndian.PutUint64(b[4:], uint64(e.size))
		copy(b[12:], e.hash[:])
		_, _ = h.Write(b[:])
	}
	h.Sum(digest[:0])
	return digest
}

// bootStep is how much of a boot file is copied or hashed between two looks whether to go on.
const bootStep = 1 << 20

// bootWriter writes the section of a version: files first, as they come, and the table in front of them at last.
type bootWriter struct {
	a       *assembler
	offset  int64
	entries []bootEntry
}

// writeBoot writes the section of files at the assembler's place, a multiple of blockSize, and zeros behind it; the table
// is left out. It calls ended before each step, and stops with its error.
func writeBoot(a *assembler, parts []bootPart, ended func() error) (*bootWriter, error) {
	w := &bootWriter{a: a, offset: a.offset}
	if _, err := a.write(make([]byte, bootTableSize(len(parts)))); err != nil {
		return nil, err
	}
	for _, p := range parts {
		if err := w.add(p, ended); err != nil {
			return nil, fmt.Errorf("store the %v %s: %w", p.kind, p.source.Name, err)
		}
	}
	return w, nil
}

// place is what the seal says of the section.
func (w *bootWriter) place() bootPlace {
	return bootPlace{offset: w.offset, length: w.a.offset - w.offset, digest: bootDigest(w.entries)}
}

func (w *bootWriter) add(p bootPart, ended func() error) error {
	r, err := p.source.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	e := bootEntry{kind: p.kind, size: p.source.Size, offset: w.a.offset}
	h := blake3.New()
	buf := make([]byte, min(e.size, bootStep))
	for left := e.size; left > 0; {
		if err := ended(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf[:min(left, int64(len(buf)))])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("it had %d bytes and has %d now: it changed while it was read", e.size, e.size-left+int64(n))
		}
		if err != nil {
			return err
		}
		_, _ = h.Write(buf[:n]) // a hash cannot fail
		if _, err := w.a.write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	switch n, err := io.ReadFull(r, buf[:1]); {
	case n > 0:
		return fmt.Errorf("it had %d bytes and has more now: it changed while it was read", e.size)
	case !errors.Is(err, io.EOF):
		return err
	}
	h.Sum(e.hash[:0])
	w.entries = append(w.entries, e)
	return nil
}
