package vdisk

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Wherever a qcow2 file was cut, its import fails or gives the whole disk: zeros in the place of what is lost would go
// unseen until somebody needs it.
func TestAQcow2FileThatWasCutIsNeverTakenForAnother(t *testing.T) {
	needTool(t, qemuImg, "qemu-utils")
	dir := t.TempDir()
	disk := image(83, 2<<20+512)
	raw := imageFile(t, "raw.img", disk)
	for name, how := range map[string][]string{
		"plain": nil, "compressed": {"-c"}, "small clusters": {"-o", "cluster_size=4096"}, "extended": {"-o", "extended_l2=on,cluster_size=64k"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "good.qcow2")
			qemu(t, append(append([]string{"convert", "-O", "qcow2"}, how...), raw, path)...)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := wholeQcow2(bytes.NewReader(good), int64(len(good))); err != nil {
				t.Errorf("whole: %v", err)
			}
			cuts := []int{len(good) / 64, len(good) / 5, len(good) / 2, len(good) * 15 / 16}
			for at := 4096; at < 512<<10 && at < len(good); at += 64 << 10 {
				cuts = append(cuts, at)
			}
			for _, at := range cuts {
				cut := filepath.Join(dir, "cut.qcow2")
				if err := os.WriteFile(cut, good[:at], 0o600); err != nil {
					t.Fatal(err)
				}
				o := importOptions(cut, t.TempDir())
				o.Name = "cut"
				r, err := Import(context.Background(), o)
				switch {
				case err == nil:
					same(t, r.Path, disk)
				case !strings.Contains(err.Error(), "cut or damaged"):
					t.Errorf("cut at %d: %v", at, err)
				}
			}
		})
	}
}

// FuzzWholeQcow2 reads tables that lead anywhere.
func FuzzWholeQcow2(f *testing.F) {
	head := make([]byte, 4096)
	copy(head, "QFI\xfb\x00\x00\x00\x03")
	binary.BigEndian.PutUint32(head[20:], 9)
	binary.BigEndian.PutUint64(head[24:], 1<<20)
	binary.BigEndian.PutUint32(head[36:], 2)
	binary.BigEndian.PutUint64(head[40:], 512)
	binary.BigEndian.PutUint64(head[512:], 1024)
	binary.BigEndian.PutUint64(head[1024:], 2048)
	binary.BigEndian.PutUint64(head[1032:], 1<<62|3000)
	f.Add(head, int64(4096))
	f.Add(head[:1000], int64(1000))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		// What is accepted names nothing that is not there, whatever length the file claims to have.
		if err := wholeQcow2(bytes.NewReader(b), min(size, int64(len(b)))); err == nil && len(b) < qcow2Header {
			t.Error("accepted without a header")
		}
	})
}
