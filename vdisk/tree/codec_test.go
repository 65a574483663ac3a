package tree

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// samples are chunks of each character: zeros, noise, text, and nearly all of one byte.
func samples(n int) map[string][]byte {
	rng := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, n)
	rng.Read(noise)
	sparse := make([]byte, n)
	sparse[n-1] = 1
	return map[string][]byte{
		"zero": make([]byte, n), "noise": noise, "sparse": sparse,
		"text": []byte(strings.Repeat("a flood of similar things at once; ", n/35+1)[:n]),
	}
}

func TestChunksComeBackAsTheyWere(t *testing.T) {
	dec, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	for codec := CodecNone; codec.Valid(); codec++ {
		enc, err := NewEncoder(codec)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{512, 1024, 4096, 65536 - 512, 65536, MaxChunk} {
			for name, chunk := range samples(n) {
				e, stored := enc.Encode(make([]byte, 0, Room(n)), chunk)
				s := Shape{Size: int64(n), SectorSize: 512, ChunkSize: MaxChunk}
				if _, err := ParsePage(nil, AppendPage(nil, []Entry{e}), s, 1, 0); err != nil {
					t.Errorf("%v, %s, %d bytes: %v", codec, name, n, err)
				}
				if (e.Kind == Zero) != (name == "zero") || (name == "noise" && e.Kind != Raw) {
					t.Errorf("%v, %s, %d bytes: stored as %v", codec, name, n, e.Kind)
				}
				got := bytes.Repeat([]byte{0xee}, n)
				if err := dec.Decode(got, e, stored); err != nil || !bytes.Equal(got, chunk) {
					t.Errorf("%v, %s, %d bytes: comes back otherwise, error %v", codec, name, n, err)
				}
				if !Verify(e, stored) {
					t.Errorf("%v, %s, %d bytes: does not verify", codec, name, n)
				}
			}
		}
	}
}

// Whatever one bit does to stored bytes, it is found by the hash, before a decompressor sees them.
func TestOneWrongBitIsAMismatch(t *testing.T) {
	dec, _ := NewDecoder()
	defer dec.Close()
	for codec := CodecNone; codec.Valid(); codec++ {
		enc, _ := NewEncoder(codec)
		chunk := samples(4096)["text"]
		e, stored := enc.Encode(nil, chunk)
		stored = bytes.Clone(stored)
		for _, bit := range []int{0, 3, len(stored)*8 - 1, len(stored) * 4} {
			stored[bit/8] ^= 1 << (bit % 8)
			if err := dec.Decode(make([]byte, 4096), e, stored); !errors.Is(err, ErrMismatch) {
				t.Errorf("%v, bit %d: %v", codec, bit, err)
			}
			stored[bit/8] ^= 1 << (bit % 8)
		}
		if err := dec.Decode(make([]byte, 4096), e, stored[:len(stored)-1]); !errors.Is(err, ErrMismatch) {
			t.Errorf("%v, cut: %v", codec, err)
		}
	}
}

// A tree made with ill will may have right hashes over wrong bytes. Whatever they are, nothing is written
// behind the chunk and the decoder says so.
func TestDecoderRefusesMoreAndLessThanTheChunk(t *testing.T) {
	dec, _ := NewDecoder()
	defer dec.Close()
	zw, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	const n = 4096
	for _, length := range []int{n - 1, n + 1, 2 * n, 64 << 20} {
		big := make([]byte, length)
		for name, c := range map[string]struct {
			kind   Kind
			stored []byte
		}{
			"zstd": {Zstd, zw.EncodeAll(big, nil)}, "s2": {S2, s2.Encode(nil, big)},
			"raw": {Raw, big}, "two frames": {Zstd, append(zw.EncodeAll(big, nil), zw.EncodeAll(make([]byte, n), nil)...)},
		} {
			e := Entry{c.kind, uint32(len(c.stored)), Sum(c.stored)}
			buf := bytes.Repeat([]byte{0xee}, n+64)
			if err := dec.Decode(buf[:n], e, c.stored); !errors.Is(err, ErrUndecodable) {
				t.Errorf("%s of %d bytes into %d: %v", name, length, n, err)
			}
			if !bytes.Equal(buf[n:], bytes.Repeat([]byte{0xee}, 64)) {
				t.Errorf("%s of %d bytes: written behind the chunk", name, length)
			}
		}
	}
	for _, kind := range []Kind{Zstd, S2, Page, 9} {
		garbage := []byte("neither one nor the other")
		e := Entry{kind, uint32(len(garbage)), Sum(garbage)}
		if err := dec.Decode(make([]byte, n), e, garbage); !errors.Is(err, ErrUndecodable) {
			t.Errorf("garbage as %v: %v", kind, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	zw, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	for _, chunk := range samples(4096) {
		f.Add(uint8(Zstd), zw.EncodeAll(chunk, nil))
		f.Add(uint8(S2), s2.Encode(nil, chunk))
	}
	dec, _ := NewDecoder()
	f.Fuzz(func(t *testing.T, kind uint8, stored []byte) {
		buf := bytes.Repeat([]byte{0xee}, 4096+8)
		_ = dec.Decode(buf[:4096], Entry{Kind(kind), uint32(len(stored)), Sum(stored)}, stored)
		if !bytes.Equal(buf[4096:], bytes.Repeat([]byte{0xee}, 8)) {
			t.Fatal("written behind the chunk")
		}
	})
}
