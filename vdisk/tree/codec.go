package tree

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec says how new chunks are encoded. Readers need not know it: each entry has its Kind. The numbers are
// in files; they are only ever appended to.
type Codec uint8

// The codecs. Those of zstd differ in effort only, and so do those of s2: targets decode them alike.
const (
	CodecNone     Codec = 0
	CodecZstd     Codec = 1
	CodecS2       Codec = 2
	CodecZstdFast Codec = 3
	CodecS2Better Codec = 4
)

var codecNames = [...]string{CodecNone: "none", CodecZstd: "zstd", CodecS2: "s2", CodecZstdFast: "zstd-fast",
	CodecS2Better: "s2-better"}

// Codecs lists the names that ParseCodec knows, in the order to offer them.
func Codecs() []string {
	all := []Codec{CodecS2Better, CodecS2, CodecZstd, CodecZstdFast, CodecNone}
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.String()
	}
	return names
}

// String gives the codec's name, as in flags and tables.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// Valid reports whether the codec is one of those above.
func (c Codec) Valid() bool { return int(c) < len(codecNames) }

// ParseCodec reads a codec's name.
func ParseCodec(s string) (Codec, error) {
	for c, name := range codecNames {
		if s == name {
			return Codec(c), nil
		}
	}
	return 0, fmt.Errorf("codec %q: must be one of %v", s, Codecs())
}

// savings: a chunk is stored compressed when that saves at least 1/savings of it; less is not worth a
// target's time.
const savings = 16

// zstdSlack is what zstd may add to a chunk that does not compress: frame and block headers.
const zstdSlack = 64

// maxCompressed is the greatest stored length of a compressed chunk of that logical length.
func maxCompressed(logical int) int { return logical - (logical+savings-1)/savings }

// zeroBlock is what chunks are compared with.
var zeroBlock [64 << 10]byte

// IsZero reports whether all bytes of b are zero.
func IsZero(b []byte) bool {
	for len(b) > len(zeroBlock) {
		if !bytes.Equal(b[:len(zeroBlock)], zeroBlock[:]) {
			return false
		}
		b = b[len(zeroBlock):]
	}
	return bytes.Equal(b, zeroBlock[:len(b)])
}

// Encoder makes entries and stored bytes of chunks. One goroutine uses it at a time. Equal chunks give equal
// stored bytes with one codec and one release of the compressor.
type Encoder struct {
	codec Codec
	zstd  *zstd.Encoder
}

// NewEncoder makes an Encoder. It holds some MB of tables for zstd.
func NewEncoder(c Codec) (*Encoder, error) {
	e := &Encoder{codec: c}
	var err error
	switch c {
	case CodecNone, CodecS2, CodecS2Better:
	case CodecZstd, CodecZstdFast:
		level := zstd.SpeedDefault
		if c == CodecZstdFast {
			level = zstd.SpeedFastest
		}
		// The entry's hash already covers the bytes, so zstd's own checksum would only cost 4 bytes and time.
		e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(MaxChunk), zstd.WithLowerEncoderMem(true))
	default:
		err = fmt.Errorf("%v is not known", c)
	}
	if err != nil {
		return nil, fmt.Errorf("make an encoder: %w", err)
	}
	return e, nil
}

// Room is how many bytes of capacity dst of Encode needs to stay where it is, for a chunk of n bytes.
func Room(n int) int { return s2.MaxEncodedLen(n) + zstdSlack }

// Encode makes the entry and the stored bytes of one chunk, at most MaxChunk bytes. The stored bytes are nil
// for a zero chunk, the chunk itself where compressing saves too little, else in dst from its start (which
// is overwritten) or in new memory where dst has less than Room bytes of capacity.
func (e *Encoder) Encode(dst, chunk []byte) (Entry, []byte) {
	if IsZero(chunk) {
		return Entry{}, nil
	}
	kind, stored := Raw, chunk
	var packed []byte
	switch e.codec {
	case CodecZstd, CodecZstdFast:
		kind, packed = Zstd, e.zstd.EncodeAll(chunk, dst[:0])
	case CodecS2:
		kind, packed = S2, s2.Encode(dst[:cap(dst)], chunk)
	case CodecS2Better:
		kind, packed = S2, s2.EncodeBetter(dst[:cap(dst)], chunk)
	}
	if kind != Raw && len(packed) <= maxCompressed(len(chunk)) {
		stored = packed
	} else {
		kind = Raw
	}
	return Entry{Kind: kind, Length: uint32(len(stored)), Hash: Sum(stored)}, stored
}

// ErrMismatch means that stored bytes are not those of the entry: damaged or forged on their way.
var ErrMismatch = errors.New("stored bytes do not have the hash of their entry")

// ErrUndecodable means that stored bytes are those of the entry and yet do not decode to a chunk of the
// right length: whoever made the tree made it wrong.
var ErrUndecodable = errors.New("stored bytes do not decode to a chunk of the right length")

// Decoder turns stored bytes back into chunks. One goroutine uses it at a time.
type Decoder struct {
	zstd *zstd.Decoder
}

// NewDecoder makes a Decoder for every kind of chunk.
func NewDecoder() (*Decoder, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxChunk), zstd.WithDecoderMaxWindow(MaxChunk), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("make a decoder: %w", err)
	}
	return &Decoder{zstd: d}, nil
}

// Close frees what the Decoder holds. It must not be used afterwards.
func (d *Decoder) Close() { d.zstd.Close() }

// Decode checks that stored are the bytes that e describes (else ErrMismatch), and only then decodes them
// into dst, whose length must be the chunk's logical length (else ErrUndecodable). It does not keep or change
// stored, and does not allocate in steady state. After an error dst holds anything.
func (d *Decoder) Decode(dst []byte, e Entry, stored []byte) error {
	if !Verify(e, stored) {
		return ErrMismatch
	}
	switch e.Kind {
	case Zero:
		clear(dst)
		return nil
	case Raw:
		if len(stored) != len(dst) {
			return ErrUndecodable
		}
		copy(dst, stored)
		return nil
	case Zstd:
		// The capacity is the limit, so a frame that would grow beyond the chunk ends with an error.
		out, err := d.zstd.DecodeAll(stored, dst[:0:len(dst)])
		if err != nil || len(out) != len(dst) {
			return ErrUndecodable
		}
		return nil
	case S2:
		if n, err := s2.DecodedLen(stored); err != nil || n != len(dst) {
			return ErrUndecodable
		}
		if _, err := s2.Decode(dst, stored); err != nil {
			return ErrUndecodable
		}
		return nil
	}
	return ErrUndecodable
}
