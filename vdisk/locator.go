package vdisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/spate-project/spate/vdisk/tree"
)

const (
	placeSize   = 16
	recordMagic = "SpLo"
	recordHead  = 24 + placeSize
	maxRecord   = recordHead + tree.Fanout*placeSize
)

// recordSize is the length of the record of a page with n entries.
func recordSize(n int) int { return recordHead + n*placeSize }

// place is where stored bytes lie. The zero place means that nothing is stored: all zero.
type place struct {
	offset   int64
	length   uint32
	ancestor uint16 // 0: this file
}

func (p place) put(b []byte) {
	binary.LittleEndian.PutUint64(b[0:], uint64(p.offset))
	binary.LittleEndian.PutUint32(b[8:], p.length)
	binary.LittleEndian.PutUint16(b[12:], p.ancestor)
	binary.LittleEndian.PutUint16(b[14:], 0)
}

// parsePlace reads a place and reports whether it has a legal form.
func parsePlace(b []byte) (place, bool) {
	offset := binary.LittleEndian.Uint64(b[0:])
	p := place{int64(offset), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint16(b[12:])}
	reserved := binary.LittleEndian.Uint16(b[14:])
	if reserved != 0 || offset > math.MaxInt64-math.MaxUint32 || p.length == 0 && p != (place{}) {
		return place{}, false
	}
	return p, true
}

// within reports whether the place lies between the header and end.
func (p place) within(end int64) bool {
	return p.offset >= dataStart && p.offset+int64(p.length) <= end
}

// record is the locator of one page: where it lies and where its children do.
type record struct {
	level    int
	index    int64
	n        int
	page     place
	children [tree.Fanout]place
}

// appendRecord appends the record of page (level, index) to dst.
func appendRecord(dst []byte, level int, index int64, page place, children []place) []byte {
	start := len(dst)
	var zero [recordHead]byte
	dst = append(dst, zero[:]...)
	b := dst[start:]
	copy(b, recordMagic)
	b[8] = byte(level)
	binary.LittleEndian.PutUint16(b[10:], uint16(len(children)))
	binary.LittleEndian.PutUint64(b[16:], uint64(index))
	page.put(b[24:])
	for _, c := range children {
		dst = append(dst, zero[:placeSize]...)
		c.put(dst[len(dst)-placeSize:])
	}
	b = dst[start:]
	binary.LittleEndian.PutUint32(b[4:], checksum(b, 4))
	return dst
}

var (
	errRecordSum   = errors.New("checksum of the locator is wrong")
	errRecordPlace = errors.New("the locator is that of another page")
	errRecordForm  = errors.New("the locator makes no sense")
)

// bounds are what the places of a record must keep to.
type bounds struct {
	shape     tree.Shape
	end       int64 // of the data in this file
	ancestors int   // how many there are
}

// parse reads the record of page (level, index), which exists, from b into r. It does not alias b, allocates
// nothing, and accepts nothing that appendRecord would not have written for that page.
func (r *record) parse(b []byte, level int, index int64, in bounds) error {
	n := in.shape.Entries(level, index)
	if len(b) != recordSize(n) || string(b[:4]) != recordMagic {
		return errRecordForm
	}
	if checksum(b, 4) != binary.LittleEndian.Uint32(b[4:]) {
		return errRecordSum
	}
	if int(b[8]) != level || binary.LittleEndian.Uint64(b[16:]) != uint64(index) {
		return errRecordPlace
	}
	if b[9] != 0 || int(binary.LittleEndian.Uint16(b[10:])) != n || binary.LittleEndian.Uint32(b[12:]) != 0 {
		return errRecordForm
	}
	r.level, r.index, r.n = level, index, n
	var ok bool
	if r.page, ok = parsePlace(b[24:]); !ok || int(r.page.length) != n*tree.EntrySize || !in.allow(r.page) {
		return errRecordForm
	}
	for i := range n {
		p, ok := parsePlace(b[recordHead+i*placeSize:])
		if !ok || p.length != 0 && (!in.allow(p) || !in.fits(p, level-1, index*tree.Fanout+int64(i))) {
			return errRecordForm
		}
		r.children[i] = p
	}
	return nil
}

// allow reports whether p lies in a file that there is, and inside this one if it is this one.
func (in *bounds) allow(p place) bool {
	if p.ancestor != 0 {
		return int(p.ancestor) <= in.ancestors
	}
	return p.within(in.end)
}

// fits reports whether p has a length that the stored form of child (level, index) can have: a chunk, or the
// record of a page.
func (in *bounds) fits(p place, level int, index int64) bool {
	if level == 0 {
		return int(p.length) <= in.shape.ChunkLength(index)
	}
	return int(p.length) == recordSize(in.shape.Entries(level, index))
}

// String is for test failures and messages.
func (p place) String() string { return fmt.Sprintf("%d+%d", p.offset, p.length) }
