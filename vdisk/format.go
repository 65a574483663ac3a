package vdisk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/spate-project/spate/vdisk/tree"
)

const (
	formatVersion = 1
	bootFormat    = 2    // of the seal of a version with boot files, which older releases must not take for one without
	blockSize     = 4096 // of the header and of a seal slot; each is written and checked as one
	slots         = 2
	dataStart     = blockSize
	minFile       = dataStart + slots*blockSize

	headerMagic = "SpateDsk"
	sealMagic   = "SpateSea"

	descriptionSize = 336
	headerBody      = 16
	sealBody        = 512
	maxProgram      = 64
	maxWho          = 128
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// description is what a file says about the version it holds, in its header and again in each seal slot.
type description struct {
	shape   tree.Shape
	name    string
	number  uint32
	codec   tree.Codec
	parent  *Parent // nil for a base
	program string
}

// noSum is a checksum field while the checksum is computed. It is no local variable, because that would be
// allocated on each read of a locator.
var noSum [4]byte

// checksum is that of a structure whose checksum field is the 4 bytes at offset at.
func checksum(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, noSum[:])
	return crc32.Update(sum, castagnoli, b[at+4:])
}

// putString stores s behind its length in b, the field's whole room.
func putString(b []byte, s string) {
	b[0] = byte(copy(b[1:], s))
}

// getString reads what putString stored, and fails unless the rest of the field is zero.
func getString(b []byte) (string, bool) {
	n := int(b[0])
	if n >= len(b) || !tree.IsZero(b[1+n:]) {
		return "", false
	}
	return string(b[1 : 1+n]), true
}

func (d *description) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(d.shape.Size))
	le.PutUint32(b[8:], d.shape.SectorSize)
	le.PutUint32(b[12:], d.shape.ChunkSize)
	le.PutUint32(b[16:], d.number)
	b[20] = byte(d.codec)
	if d.parent != nil {
		b[21] = 1
		le.PutUint32(b[24:], d.parent.Number)
		copy(b[32:], d.parent.Root[:])
		le.PutUint64(b[64:], uint64(d.parent.Timestamp))
	}
	putString(b[72:72+1+MaxName], d.name)
	putString(b[137:137+1+maxProgram], d.program)
}

// parseDescription reads the descriptionSize bytes of b. The result does not alias b.
func parseDescription(b []byte) (*description, error) {
	le := binary.LittleEndian
	d := &description{
		shape: tree.Shape{
			Size: int64(le.Uint64(b[0:])), SectorSize: le.Uint32(b[8:]), ChunkSize: le.Uint32(b[12:]),
		},
		number: le.Uint32(b[16:]),
		codec:  tree.Codec(b[20]),
	}
	if err := d.shape.Validate(); err != nil {
		return nil, err
	}
	if d.number > MaxNumber {
		return nil, fmt.Errorf("version number %d is reserved", d.number)
	}
	if !d.codec.Valid() {
		return nil, fmt.Errorf("%v is not known", d.codec)
	}
	if b[21] == 1 {
		d.parent = &Parent{Number: le.Uint32(b[24:])}
		copy(d.parent.Root[:], b[32:])
		d.parent.Timestamp = int64(le.Uint64(b[64:]))
	}
	if b[21] > 1 || d.parent == nil && !tree.IsZero(b[24:72]) || d.parent != nil && d.parent.Number >= d.number {
		return nil, fmt.Errorf("parent reference makes no sense")
	}
	var ok, ok2 bool
	d.name, ok = getString(b[72 : 72+1+MaxName])
	d.program, ok2 = getString(b[137 : 137+1+maxProgram])
	if !ok || !ok2 || !tree.IsZero(b[22:24]) || !tree.IsZero(b[28:32]) || !tree.IsZero(b[202:descriptionSize]) {
		return nil, fmt.Errorf("reserved bytes are not zero")
	}
	if err := CheckName(d.name); err != nil {
		return nil, err
	}
	return d, nil
}

// equal reports whether two descriptions say the same.
func (d *description) equal(o *description) bool {
	var a, b [descriptionSize]byte
	d.put(a[:])
	o.put(b[:])
	return a == b
}

// newBlock begins a header or seal slot.
func newBlock(magic string) []byte {
	b := make([]byte, blockSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	return b
}

// closeBlock enters the checksum.
func closeBlock(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[12:], checksum(b, 12))
	return b
}

// checkBlock checks magic, format version, at most newest, and checksum. The version comes before the checksum, because a
// newer format may compute that otherwise.
func checkBlock(b []byte, magic string, newest uint32) error {
	if len(b) != blockSize || !bytes.Equal(b[:8], []byte(magic)) {
		return ErrNotVDisk
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v < formatVersion || v > newest {
		if checksum(b, 12) == binary.LittleEndian.Uint32(b[12:]) {
			return fmt.Errorf("format version %d, this program knows %d: %w", v, newest, ErrNewer)
		}
		return fmt.Errorf("checksum is wrong: %w", ErrDamaged)
	}
	if checksum(b, 12) != binary.LittleEndian.Uint32(b[12:]) {
		return fmt.Errorf("checksum is wrong: %w", ErrDamaged)
	}
	return nil
}

// encodeHeader makes the first block of a file.
func encodeHeader(d *description) []byte {
	b := newBlock(headerMagic)
	d.put(b[headerBody : headerBody+descriptionSize])
	return closeBlock(b)
}

// parseHeader reads the first block of a file.
func parseHeader(b []byte) (*description, error) {
	if err := checkBlock(b, headerMagic, formatVersion); err != nil {
		return nil, err
	}
	d, err := parseDescription(b[headerBody : headerBody+descriptionSize])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !tree.IsZero(b[headerBody+descriptionSize:]) {
		return nil, fmt.Errorf("reserved bytes are not zero: %w", ErrDamaged)
	}
	return d, nil
}
