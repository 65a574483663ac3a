package vdisk

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

var update = flag.Bool("update", false, "write the golden files of testdata/vdisk anew")

const goldenDir = "../testdata/vdisk"

// goldens are the files of testdata/vdisk; README.md there says what each is for. Chunks are stored raw or
// with s2 where a release of the compressor must not change the file.
var goldens = []struct {
	name  string
	chunk uint32
	codec tree.Codec
	disk  func() []byte
	boot  BootFiles
}{
	{"one-sector", tree.MinChunk, tree.CodecNone, func() []byte { return bytes.Repeat([]byte("spate512"), 64) }, BootFiles{}},
	{"zero", tree.MinChunk, tree.CodecZstd, func() []byte { return make([]byte, 70*4096) }, BootFiles{}},
	{"two-levels", tree.MinChunk, tree.CodecZstd, func() []byte {
		disk := make([]byte, 66*4096+512)
		copy(disk[4096:], bytes.Repeat([]byte("a flood of similar things at once; "), 300))
		copy(disk[65*4096:], bytes.Repeat([]byte{1}, 4096))
		disk[len(disk)-1] = 0xff
		return disk
	}, BootFiles{}},
	{"s2", tree.MinChunk, tree.CodecS2, func() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 512) }, BootFiles{}},
	{"boot", tree.MinChunk, tree.CodecNone, func() []byte { return bytes.Repeat([]byte("spate512"), 64) }, bootFiles()},
}

// Files that an earlier release wrote are read by this one: identity, every page and every byte.
func TestGoldenFilesAreRead(t *testing.T) {
	for _, g := range goldens {
		path := filepath.Join(goldenDir, FileName(g.name, 0))
		disk := g.disk()
		o := options(g.chunk, g.codec)
		o.Name, o.Boot = g.name, g.boot
		if *update {
			os.Remove(path)
			write(t, goldenDir, disk, o)
		}
		v := open(t, path)
		if v.Name() != g.name || v.ID().Timestamp != sealTime().UnixNano() || v.Info().Who != "tester@lab" {
			t.Errorf("%s: describes itself as %+v", g.name, v.Info())
		}
		if got, err := content(v); err != nil || !bytes.Equal(got, disk) {
			t.Errorf("%s: comes back otherwise, error %v", g.name, err)
		}
		if g.boot.Kernel.Open != nil {
			checkBootFiles(t, v, "")
		}
		if r, err := v.Verify(context.Background(), VerifyOptions{}); err != nil || !r.Sound() {
			t.Errorf("%s: %+v, %v", g.name, r, err)
		}
	}
}

// What this release writes is what the golden files hold, byte for byte; a test that fails here alone means a
// new release of a compressor or a new format.
func TestGoldenFilesAreWritten(t *testing.T) {
	for _, g := range goldens {
		o := options(g.chunk, g.codec)
		o.Name, o.Boot = g.name, g.boot
		got, err := os.ReadFile(write(t, t.TempDir(), g.disk(), o).Path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(goldenDir, FileName(g.name, 0)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another file is written (error %v)", g.name, err)
		}
	}
}
