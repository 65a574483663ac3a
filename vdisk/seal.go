package vdisk

import (
	"encoding/binary"
	"fmt"

	"github.com/spate-project/spate/vdisk/tree"
)

// seal is one slot at the end of a file.
type seal struct {
	sequence uint64
	id       ID
	logical  tree.Hash // of the disk's bytes
	file     int64     // size of this file
	stored   int64     // bytes of chunks in this file
	zeros    int64     // zero chunks
	raws     int64     // chunks stored raw
	top      place
	written  int64
	who      string
	boot     bootPlace
	description
}

func encodeSeal(s *seal) []byte {
	b := newBlock(sealMagic)
	le := binary.LittleEndian
	if s.boot != (bootPlace{}) {
		le.PutUint32(b[8:], bootFormat)
		s.boot.put(b[sealBoot:])
	}
	le.PutUint64(b[16:], s.sequence)
	copy(b[24:], s.id.Root[:])
	le.PutUint64(b[56:], uint64(s.id.Timestamp))
	copy(b[64:], s.logical[:])
	le.PutUint64(b[96:], uint64(s.file))
	le.PutUint64(b[104:], uint64(s.stored))
	le.PutUint64(b[112:], uint64(s.zeros))
	le.PutUint64(b[120:], uint64(s.raws))
	s.top.put(b[128:])
	le.PutUint64(b[144:], uint64(s.written))
	putString(b[152:152+1+maxWho], s.who)
	s.description.put(b[sealBody : sealBody+descriptionSize])
	return closeBlock(b)
}

// parseSeal reads one slot of a file of the given size. It accepts nothing that encodeSeal would not write.
func parseSeal(b []byte, file int64) (*seal, error) {
	if err := checkBlock(b, sealMagic, bootFormat); err != nil {
		return nil, err
	}
	d, err := parseDescription(b[sealBody : sealBody+descriptionSize])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	le := binary.LittleEndian
	s := &seal{
		sequence: le.Uint64(b[16:]),
		id:       ID{Timestamp: int64(le.Uint64(b[56:]))},
		file:     int64(le.Uint64(b[96:])),
		stored:   int64(le.Uint64(b[104:])),
		zeros:    int64(le.Uint64(b[112:])),
		raws:     int64(le.Uint64(b[120:])),
		written:  int64(le.Uint64(b[144:])),

		description: *d,
	}
	copy(s.id.Root[:], b[24:])
	copy(s.logical[:], b[64:])
	if s.file != file {
		return nil, fmt.Errorf("file has %d bytes, its seal says %d: %w", file, s.file, ErrDamaged)
	}
	var ok bool
	if s.boot, ok = parseBootPlace(b[sealBoot:], file-slots*blockSize); !ok ||
		(s.boot != bootPlace{}) != (le.Uint32(b[8:]) == bootFormat) {
		return nil, fmt.Errorf("place of the boot files makes no sense: %w", ErrDamaged)
	}
	if s.top, ok = parsePlace(b[128:]); !ok || s.top.ancestor != 0 || !s.top.within(s.end()) ||
		int(s.top.length) != recordSize(d.shape.Entries(d.shape.Levels(), 0)) {
		return nil, fmt.Errorf("place of the top page makes no sense: %w", ErrDamaged)
	}
	if s.stored < 0 || s.stored > file || s.zeros < 0 || s.raws < 0 || s.zeros > d.shape.Chunks()-s.raws {
		return nil, fmt.Errorf("sums make no sense: %w", ErrDamaged)
	}
	if s.who, ok = getString(b[152 : 152+1+maxWho]); !ok || !tree.IsZero(b[sealBoot+bootPlaceSize:sealBody]) ||
		!tree.IsZero(b[sealBody+descriptionSize:]) {
		return nil, fmt.Errorf("reserved bytes are not zero: %w", ErrDamaged)
	}
	return s, nil
}

// end is where the disk's data ends: at the boot section, or at the seal.
func (s *seal) end() int64 {
	if s.boot != (bootPlace{}) {
		return s.boot.offset
	}
	return s.file - slots*blockSize
}

// newer gives the seal that counts, and the slot it is in. Either may be nil; both nil give nil.
func newer(pair [slots]*seal) (*seal, int) {
	if pair[0] == nil || pair[1] != nil && pair[1].sequence > pair[0].sequence {
		return pair[1], 1
	}
	return pair[0], 0
}
