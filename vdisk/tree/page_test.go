package tree

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The shapes that the tests walk: one chunk, full and short pages, several levels, both ends of each bound.
var shapes = []struct {
	shape          Shape
	chunks         int64
	levels         int
	top, lastChunk int
}{
	{Shape{512, 512, 4096}, 1, 1, 1, 512},
	{Shape{4096, 4096, 4096}, 1, 1, 1, 4096},
	{Shape{64 * 4096, 512, 4096}, 64, 1, 64, 4096},
	{Shape{64*4096 + 512, 512, 4096}, 65, 2, 2, 512},
	{Shape{64 * 64 * 65536, 512, 65536}, 4096, 2, 64, 65536},
	{Shape{64*64*65536 + 1024, 512, 65536}, 4097, 3, 2, 1024},
	{Shape{4 << 40, 4096, 65536}, 1 << 26, 5, 4, 65536},
	{Shape{MaxSize, 512, MinChunk}, 1 << 48, MaxLevels, 64, MinChunk},
}

func TestSizesOfATreeFollowFromTheShape(t *testing.T) {
	for _, c := range shapes {
		s := c.shape
		if err := s.Validate(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
		if s.Chunks() != c.chunks || s.Levels() != c.levels || s.Entries(c.levels, 0) != c.top ||
			s.ChunkLength(c.chunks-1) != c.lastChunk || s.Count(s.Levels()) != 1 {
			t.Errorf("%+v: %d chunks, %d levels, top of %d, last chunk %d, %d top pages", s, s.Chunks(), s.Levels(),
				s.Entries(c.levels, 0), s.ChunkLength(c.chunks-1), s.Count(s.Levels()))
		}
		for level := 1; level <= s.Levels(); level++ {
			last := s.Count(level) - 1
			if got := last*Fanout + int64(s.Entries(level, last)); got != s.Count(level-1) {
				t.Errorf("%+v: pages of level %d cover %d children of %d", s, level, got, s.Count(level-1))
			}
		}
		for _, none := range []int{s.Entries(0, 0), s.Entries(-1, 0), s.Entries(1, -1), s.Entries(c.levels, 1),
			s.Entries(c.levels+1, 0), s.ChunkLength(-1), s.ChunkLength(c.chunks)} {
			if none != 0 {
				t.Errorf("%+v: an object that does not exist has size %d", s, none)
			}
		}
	}
}

func TestBadShapesAreRefused(t *testing.T) {
	for _, s := range []Shape{
		{0, 512, 4096}, {-512, 512, 4096}, {513, 512, 4096}, {512, 4096, 4096}, {MaxSize + 512, 512, 4096},
		{4096, 0, 4096}, {4096, 1024, 4096}, {4096, 512, 0}, {4096, 512, 2048}, {4096, 512, 12288}, {4096, 512, 2 << 20},
	} {
		if s.Validate() == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}

// The root is part of every file and ticket: if this test fails, the format has changed.
func TestRootsStayAsTheyAre(t *testing.T) {
	page := AppendPage(nil, []Entry{{Raw, 4096, Sum(bytes.Repeat([]byte{7}, 4096))}, {}})
	for _, c := range []struct {
		shape Shape
		boot  Hash
		want  string
	}{
		{Shape{8192, 512, 4096}, Hash{}, "910bd93750b9676559de53702e1467952c87bd4237a772fdb1ea1b9ccb3597f5"},
		{Shape{8192, 4096, 4096}, Hash{}, "5d2a21384cba31ac0f053f2521199a6a142b6a557387b5885131b00662d04bb9"},
		{Shape{8192 - 512, 512, 4096}, Hash{}, "301382c9f07c6facb222bb372ea0886e8d926bf36be120f9a83e255d9e1f1ed3"},
		{Shape{8192, 512, 4096}, Sum([]byte("kernel")), "461d05f425732719dea0d2b9f9619c0aa1a239c5eacadbcb6e3f57d2f553eb69"},
	} {
		if got := c.shape.Root(page, c.boot).String(); got != c.want {
			t.Errorf("%+v: root %s, want %s", c.shape, got, c.want)
		}
	}
}

// memory is a tree with its pages in a map, by level and index.
type memory map[[2]int64][]byte

func build(t *testing.T, entries []Entry) (m memory, top []byte, levels int) {
	t.Helper()
	m = memory{}
	b := NewBuilder(func(level int, index int64, page []byte) error {
		key := [2]int64{int64(level), index}
		if _, twice := m[key]; twice {
			return fmt.Errorf("page %v came twice", key)
		}
		m[key] = bytes.Clone(page)
		return nil
	})
	for _, e := range entries {
		if err := b.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	top, levels, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return m, top, levels
}

// What a Builder makes has the right number of levels, each page parses at its place and only there, each
// parent has its children's hashes, and Zero stands exactly for subtrees of zeros.
func TestBuilderMakesTheTreeThatParsePageAccepts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, chunks := range []int{1, 2, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 4160, 64*64*2 + 1} {
		for _, density := range []float64{0, 0.001, 0.5, 1} {
			s := Shape{Size: int64(chunks) * 4096, SectorSize: 512, ChunkSize: 4096}
			entries := make([]Entry, chunks)
			for i := range entries {
				if rng.Float64() < density {
					entries[i] = Entry{Zstd, 1 + uint32(rng.IntN(3000)), Sum([]byte{byte(i), byte(i >> 8)})}
				}
			}
			pages, top, levels := build(t, entries)
			if levels != s.Levels() {
				t.Fatalf("%d chunks: %d levels, want %d", chunks, levels, s.Levels())
			}
			below := entries
			for level := 1; level <= levels; level++ {
				var above []Entry
				for i := range s.Count(level) {
					part := below[i*Fanout:][:s.Entries(level, i)]
					page, ok := pages[[2]int64{int64(level), i}]
					if !ok {
						t.Fatalf("%d chunks: page %d of level %d was not emitted", chunks, i, level)
					}
					if allZero(part) && level < levels {
						if page != nil {
							t.Fatalf("%d chunks: a page of zeros is stored at level %d", chunks, level)
						}
						above = append(above, Entry{})
						continue
					}
					got, err := ParsePage(nil, page, s, level, i)
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(AppendPage(nil, got), page) || got[0] != part[0] || got[len(got)-1] != part[len(part)-1] {
						t.Fatalf("%d chunks: page %d of level %d holds other entries", chunks, i, level)
					}
					above = append(above, PageEntry(page))
				}
				below = above
			}
			if !bytes.Equal(top, pages[[2]int64{int64(levels), 0}]) {
				t.Fatalf("%d chunks: the top page is another one", chunks)
			}
		}
	}
}

// leaf is a shape of one short leaf page: two full chunks and one of 512 bytes.
var leaf = Shape{Size: 2*4096 + 512, SectorSize: 512, ChunkSize: 4096}

// deep has two levels: a full leaf page, and one with a single chunk.
var deep = Shape{Size: 65 * 4096, SectorSize: 512, ChunkSize: 4096}

func TestParsePageRefusesWhatAppendPageWouldNotWrite(t *testing.T) {
	h := Sum([]byte("x"))
	for _, c := range []struct {
		why   string
		shape Shape
		level int
		index int64
		page  []Entry
	}{
		{"short", leaf, 1, 0, []Entry{{Raw, 4096, h}}},
		{"long", leaf, 1, 0, []Entry{{}, {}, {Raw, 512, h}, {}}},
		{"zero with a length", leaf, 1, 0, []Entry{{Zero, 1, Hash{}}, {}, {Raw, 512, h}}},
		{"zero with a hash", leaf, 1, 0, []Entry{{Zero, 0, h}, {}, {Raw, 512, h}}},
		{"raw too short", leaf, 1, 0, []Entry{{Raw, 4095, h}, {}, {}}},
		{"raw too long", leaf, 1, 0, []Entry{{}, {}, {Raw, 4096, h}}},
		{"zstd that saves too little", leaf, 1, 0, []Entry{{Zstd, 4096 - 255, h}, {}, {}}},
		{"s2 of the last, short chunk", leaf, 1, 0, []Entry{{}, {}, {S2, 481, h}}},
		{"compressed to nothing", leaf, 1, 0, []Entry{{Zstd, 0, h}, {}, {}}},
		{"page in a leaf page", leaf, 1, 0, []Entry{{Page, 36, h}, {}, {}}},
		{"unknown kind", leaf, 1, 0, []Entry{{5, 10, h}, {}, {}}},
		{"kind of all ones", leaf, 1, 0, []Entry{{15, 10, h}, {}, {}}},
		{"chunk in an upper page", deep, 2, 0, []Entry{{Raw, 4096, h}, {}}},
		{"child page too short", deep, 2, 0, []Entry{{Page, 63 * 36, h}, {}}},
		{"child page too long", deep, 2, 0, []Entry{{}, {Page, 64 * 36, h}}},
		{"all zero below the top", deep, 1, 1, []Entry{{}}},
		{"level 0", leaf, 0, 0, []Entry{{}}},
		{"level above the top", leaf, 2, 0, []Entry{{}}},
		{"negative index", leaf, 1, -1, []Entry{{}, {}, {}}},
		{"index behind the end", leaf, 1, 1, []Entry{{}}},
	} {
		var bad *PageError
		if got, err := ParsePage(nil, AppendPage(nil, c.page), c.shape, c.level, c.index); !errors.As(err, &bad) || len(got) != 0 {
			t.Errorf("%s: accepted as %v, error %v", c.why, got, err)
		}
	}
	for _, ok := range [][]Entry{
		{{}, {}, {}}, // the top page may be all zero
		{{Raw, 4096, h}, {Zstd, 4096 - 256, h}, {S2, 480, h}},
	} {
		page := AppendPage(nil, ok)
		if _, err := ParsePage(nil, page, leaf, 1, 0); err != nil {
			t.Error(err)
		}
		for n := range page {
			if _, err := ParsePage(nil, page[:n], leaf, 1, 0); err == nil {
				t.Errorf("a page cut to %d bytes is accepted", n)
			}
		}
	}
}

func FuzzParsePage(f *testing.F) {
	h := Sum([]byte("x"))
	for _, c := range shapes {
		f.Add(AppendPage(nil, []Entry{{Raw, 4096, h}, {}}), c.shape.Size, c.shape.ChunkSize, 1, int64(0))
	}
	f.Add(AppendPage(nil, []Entry{{Raw, 4096, h}, {Zstd, 3000, h}, {S2, 480, h}}), leaf.Size, leaf.ChunkSize, 1, int64(0))
	f.Add(AppendPage(nil, []Entry{{Page, 64 * 36, h}, {Page, 36, h}}), deep.Size, deep.ChunkSize, 2, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, size int64, chunk uint32, level int, index int64) {
		s := Shape{Size: size, SectorSize: 512, ChunkSize: chunk}
		if s.Validate() != nil {
			return
		}
		e, err := ParsePage(nil, b, s, level, index)
		if err != nil {
			return
		}
		if !bytes.Equal(AppendPage(nil, e), b) {
			t.Fatal("a page was accepted that is written differently")
		}
	})
}

func TestNamesAreReadBack(t *testing.T) {
	for c := CodecNone; c.Valid(); c++ {
		if got, err := ParseCodec(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if _, err := ParseCodec("lzma"); err == nil || !strings.Contains(err.Error(), "zstd") {
		t.Errorf("unknown codec: %v", err)
	}
}
