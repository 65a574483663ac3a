package tree

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/blake3"
)

// HashSize is the length of a Hash in bytes.
const HashSize = 32

// Hash is a BLAKE3-256 hash.
type Hash [HashSize]byte

// String gives the hash as 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short gives the first four and the last two hexadecimal digits, for people: "3f2a…c1".
func (h Hash) Short() string {
	s := hex.EncodeToString(h[:])
	return s[:4] + "…" + s[len(s)-2:]
}

// Sum hashes stored bytes.
func Sum(b []byte) Hash { return blake3.Sum256(b) }

// Kind says how the child of an entry is stored. The numbers are in files and on the wire; they are only
// ever appended to.
type Kind uint8

// The kinds, as doc.go tells them.
const (
	Zero Kind = 0
	Raw  Kind = 1
	Zstd Kind = 2
	S2   Kind = 3
	Page Kind = 4
)

// String gives the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case Zero:
		return "zero"
	case Raw:
		return "raw"
	case Zstd:
		return "zstd"
	case S2:
		return "s2"
	case Page:
		return "page"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

const (
	// EntrySize is the length of an entry in a page, in bytes.
	EntrySize = 36
	// Fanout is the greatest number of entries of a page.
	Fanout = 64
	// MaxPage is the length in bytes of the longest page.
	MaxPage = Fanout * EntrySize

	kindShift  = 28
	lengthMask = 1<<kindShift - 1
)

// Entry describes one object by its content. Length is that of the stored bytes. Entries are comparable.
type Entry struct {
	Kind   Kind
	Length uint32
	Hash   Hash
}

// PageEntry describes a page by its bytes.
func PageEntry(page []byte) Entry {
	return Entry{Kind: Page, Length: uint32(len(page)), Hash: Sum(page)}
}

// AppendPage appends the page that holds the entries e to dst.
func AppendPage(dst []byte, e []Entry) []byte {
	for i := range e {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(e[i].Kind)<<kindShift|e[i].Length&lengthMask)
		dst = append(dst, e[i].Hash[:]...)
	}
	return dst
}

// PageError says why bytes are not the page they should be.
type PageError struct {
	Level  int
	Index  int64
	Reason string
}

// Error names the page and the reason.
func (e *PageError) Error() string {
	return fmt.Sprintf("page %d of level %d: %s", e.Index, e.Level, e.Reason)
}

// ParsePage reads page (level, index) of a disk of shape s, which must be valid, from b and appends its
// entries to dst. It accepts nothing that AppendPage would not have written for that place; errors are
// *PageError. The result does not alias b. It does not check the hash of b: see Verify and Shape.Root.
func ParsePage(dst []Entry, b []byte, s Shape, level int, index int64) ([]Entry, error) {
	n := s.Entries(level, index)
	if level < 1 || n == 0 {
		return dst, &PageError{level, index, "there is no such page on this disk"}
	}
	if len(b) != n*EntrySize {
		return dst, &PageError{level, index, fmt.Sprintf("has %d bytes, must have %d", len(b), n*EntrySize)}
	}
	before, zeros := len(dst), 0
	for i := range n {
		var e Entry
		word := binary.LittleEndian.Uint32(b[i*EntrySize:])
		e.Kind, e.Length = Kind(word>>kindShift), word&lengthMask
		copy(e.Hash[:], b[i*EntrySize+4:])
		if reason := s.fault(e, level-1, index*Fanout+int64(i)); reason != "" {
			return dst[:before], &PageError{level, index, fmt.Sprintf("entry %d: %s", i, reason)}
		}
		if e.Kind == Zero {
			zeros++
		}
		dst = append(dst, e)
	}
	if zeros == n && level != s.Levels() {
		return dst[:before], &PageError{level, index, "is all zero, its parent must say so"}
	}
	return dst, nil
}

// fault tells what is wrong with e as the entry of object (level, index), or nothing. The object exists.
func (s Shape) fault(e Entry, level int, index int64) string {
	if e.Kind == Zero {
		if e.Length != 0 || e.Hash != (Hash{}) {
			return "zero with a length or a hash"
		}
		return ""
	}
	if level > 0 {
		if e.Kind != Page {
			return e.Kind.String() + " where a page must be"
		}
		if want := s.Entries(level, index) * EntrySize; int(e.Length) != want {
			return fmt.Sprintf("page of %d bytes, must have %d", e.Length, want)
		}
		return ""
	}
	logical := s.ChunkLength(index)
	switch e.Kind {
	case Raw:
		if int(e.Length) != logical {
			return fmt.Sprintf("raw chunk of %d bytes, must have %d", e.Length, logical)
		}
	case Zstd, S2:
		if e.Length == 0 || int(e.Length) > maxCompressed(logical) {
			return fmt.Sprintf("%v chunk of %d bytes, must have 1 to %d", e.Kind, e.Length, maxCompressed(logical))
		}
	default:
		return e.Kind.String() + " where a chunk must be"
	}
	return ""
}

// Verify reports whether stored are the bytes that e describes.
func Verify(e Entry, stored []byte) bool {
	if e.Kind == Zero {
		return len(stored) == 0
	}
	return len(stored) == int(e.Length) && Sum(stored) == e.Hash
}
