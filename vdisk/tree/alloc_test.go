//go:build !race

package tree

import "testing"

// The target decodes every chunk it reads: nothing on that path may make garbage.
func TestDecodeVerifyAndParseDoNotAllocate(t *testing.T) {
	dec, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	const n = 64 << 10
	dst := make([]byte, n)
	for codec := CodecNone; codec.Valid(); codec++ {
		enc, _ := NewEncoder(codec)
		for name, chunk := range samples(n) {
			room := make([]byte, 0, Room(n))
			e, stored := enc.Encode(room, chunk)
			if got := testing.AllocsPerRun(100, func() {
				if err := dec.Decode(dst, e, stored); err != nil {
					t.Fatal(err)
				}
			}); got != 0 {
				t.Errorf("%v, %s: %v allocations for a decoded chunk", codec, name, got)
			}
			if got := testing.AllocsPerRun(100, func() { enc.Encode(room, chunk) }); got != 0 {
				t.Errorf("%v, %s: %v allocations for an encoded chunk", codec, name, got)
			}
		}
	}
	s := Shape{Size: 64 * n, SectorSize: 512, ChunkSize: n}
	page := AppendPage(nil, make([]Entry, Fanout))
	entries := make([]Entry, 0, Fanout)
	if got := testing.AllocsPerRun(100, func() { _, _ = ParsePage(entries, page, s, 1, 0) }); got != 0 {
		t.Errorf("%v allocations for a parsed page", got)
	}
}
