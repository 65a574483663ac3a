package vdisk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

func goldenFiles(f *testing.F) map[string][]byte {
	all := map[string][]byte{}
	for _, g := range goldens {
		b, err := os.ReadFile(filepath.Join(goldenDir, FileName(g.name, 0)))
		if err != nil {
			f.Fatal(err)
		}
		all[g.name] = b
	}
	return all
}

// body is what stands in a block behind its checksum, without the zeros at its end: a fuzzer works on that,
// for it would neither guess checksums nor do well with thousands of zeros.
func body(block []byte) []byte { return bytes.TrimRight(block[16:], "\x00") }

// block makes a block of a body, with a good checksum.
func block(magic string, body []byte) []byte {
	b := newBlock(magic)
	copy(b[16:], body)
	return closeBlock(b)
}

// What a header parser accepts is written back as it was.
func FuzzHeader(f *testing.F) {
	for _, b := range goldenFiles(f) {
		f.Add(body(b[:blockSize]))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := block(headerMagic, body)
		if d, err := parseHeader(b); err == nil && !bytes.Equal(encodeHeader(d), b) {
			t.Fatal("a header is accepted that is written differently")
		}
		_, _ = parseHeader(body)
	})
}

func FuzzSeal(f *testing.F) {
	for _, b := range goldenFiles(f) {
		f.Add(body(b[len(b)-blockSize:]), int64(len(b)))
	}
	f.Fuzz(func(t *testing.T, body []byte, size int64) {
		b := block(sealMagic, body)
		if len(body) > sealBoot-16 && !tree.IsZero(body[sealBoot-16:min(len(body), sealBody-16)]) {
			b[8] = bootFormat
			closeBlock(b)
		}
		if s, err := parseSeal(b, size); err == nil && !bytes.Equal(encodeSeal(s), b) {
			t.Fatal("a seal is accepted that is written differently")
		}
		_, _ = parseSeal(body, size)
	})
}

func FuzzRecord(f *testing.F) {
	shape := tree.Shape{Size: 70 * 4096, SectorSize: 512, ChunkSize: 4096}
	f.Add(appendRecord(nil, 1, 0, place{8000, 64 * 36, 0}, make([]place, 64)), 1, int64(0), int64(1<<20), 0)
	f.Add(appendRecord(nil, 2, 0, place{9000, 72, 0}, []place{{5000, 1064, 0}, {7000, 136, 1}}), 2, int64(0), int64(1<<20), 1)
	f.Fuzz(func(t *testing.T, b []byte, level int, index, end int64, ancestors int) {
		b = bytes.Clone(b) // a fuzzed input must stay as it is
		if shape.Entries(level, index) == 0 {
			return
		}
		if len(b) >= recordHead {
			sum := checksum(b, 4)
			b[4], b[5], b[6], b[7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		}
		var r record
		if err := r.parse(b, level, index, bounds{shape, end, ancestors}); err != nil {
			return
		}
		if !bytes.Equal(appendRecord(nil, level, index, r.page, r.children[:r.n]), b) {
			t.Fatal("a record is accepted that is written differently")
		}
		for _, p := range append(r.children[:r.n], r.page) {
			if p != (place{}) && p.ancestor == 0 && (p.offset < dataStart || p.offset+int64(p.length) > end) {
				t.Fatalf("%v lies outside the file", p)
			}
		}
	})
}

// What a parser of boot tables accepts is written back as it was, and lies within the section.
func FuzzBootTable(f *testing.F) {
	hash := tree.Sum([]byte("x"))
	for _, files := range [][]bootEntry{
		{{BootKernel, 100, 0, hash}}, {{BootKernel, 7, 0, hash}, {BootImage, 9, 0, hash}, {BootCommandLine, 3, 0, hash}, {77, 1, 0, hash}},
	} {
		at := int64(8192 + bootTableSize(len(files)))
		for i := range files {
			files[i].offset = at
			at += files[i].size
		}
		f.Add(encodeBootTable(files), at-8192)
	}
	f.Fuzz(func(t *testing.T, b []byte, length int64) {
		b = bytes.Clone(b)
		if len(b) >= bootHead+bootEntrySize {
			n := bootTableSize(min(maxBootFiles, int(b[8])))
			sum := checksum(b[:min(n, len(b))], 12)
			b[12], b[13], b[14], b[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		}
		files, err := parseBootTable(b, 8192, length)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, encodeBootTable(files)) {
			t.Fatal("a table is accepted that is written differently")
		}
		for _, e := range files {
			if e.size < 1 || e.offset < 8192 || e.offset+e.size > 8192+length {
				t.Fatalf("%+v lies outside the section", e)
			}
		}
	})
}

// A file that is overwritten somewhere, with good checksums in its fixed structures nevertheless, is refused
// or read; it never does more, and what is read is never taken for something else.
func FuzzOpen(f *testing.F) {
	files := goldenFiles(f)
	for which := range goldens {
		for _, at := range []uint16{0, 20, blockSize + 8, 8200, 8300, 12300} {
			f.Add(which, at, []byte{1, 2}, uint16(0))
		}
	}
	f.Fuzz(func(t *testing.T, which int, at uint16, xor []byte, cut uint16) {
		g := goldens[uint(which)%uint(len(goldens))]
		b := bytes.Clone(files[g.name])
		b = b[:len(b)-min(int(cut), len(b))]
		for i, x := range xor {
			if int(at)+i < len(b) {
				b[int(at)+i] ^= x
			}
		}
		if len(b) >= minFile {
			closeBlock(b[:blockSize])
			closeBlock(b[len(b)-2*blockSize : len(b)-blockSize])
			closeBlock(b[len(b)-blockSize:])
		}
		v, err := openBacking("fuzz", memory{bytes.NewReader(b)}, int64(len(b)))
		if err != nil {
			return
		}
		defer v.Close()
		if v.Shape().Chunks() > 1000 {
			return
		}
		genuine := open(t, filepath.Join(goldenDir, FileName(g.name, 0)))
		if got, err := content(v); err == nil && v.ID().Root == genuine.ID().Root && !bytes.Equal(got, g.disk()) {
			t.Fatal("other bytes under the same root")
		}
		for level := range v.Shape().Levels() + 1 {
			_ = v.Check(level, v.Shape().Count(level)-1)
		}
	})
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }
