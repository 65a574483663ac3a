package bootimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/spate-project/spate/cmd/internal/bootimage/fakekernel"
)

const version = "6.1.0-9-test"

// module makes a module that says these things of itself.
func module(fields ...string) []byte { return fakekernel.Module(version, fields...) }

func packed(how string, content []byte) []byte {
	var b bytes.Buffer
	switch how {
	case ".xz":
		w, _ := xz.NewWriter(&b)
		_, _ = w.Write(content)
		_ = w.Close()
	case ".zst":
		w, _ := zstd.NewWriter(&b)
		_, _ = w.Write(content)
		_ = w.Close()
	case ".gz":
		w := gzip.NewWriter(&b)
		_, _ = w.Write(content)
		_ = w.Close()
	default:
		return content
	}
	return b.Bytes()
}

// kernelFiles is what a kernel's package has: modules in each way of packing, one of them twice, a circle of soft needs.
func kernelFiles() map[string][]byte {
	dir := "lib/modules/" + version + "/"
	files := map[string][]byte{
		"boot/vmlinuz-" + version:    []byte("a kernel"),
		dir + "modules.builtin":      []byte("kernel/net/packet/af_packet.ko\nkernel/drivers/virtio/virtio-mmio.ko\n"),
		dir + "modules.order":        nil,
		"usr/share/doc/x/copyright":  []byte("left out"),
		"usr/lib/modules-load.d/x":   []byte("left out"),
		"lib/modules/../../../evil":  []byte("left out"),
		dir + "source":               nil,
		dir + "kernel/notes.txt":     []byte("no module"),
		dir + "updates/dkms/igb.ko":  module("depends=dca", "alias=pci:v00008086d00001521sv*sd*bc*sc*i*", "firmware=igb/new.bin"),
		"boot/System.map-" + version: nil,
	}
	for _, m := range []struct {
		path   string
		fields []string
	}{
		{"drivers/block/nbd.ko", nil},
		{"fs/overlayfs/overlay.ko", []string{"alias=fs-overlay"}},
		{"fs/ext4/ext4.ko.xz", []string{"softdep=pre: crypto-crc32c", "depends=jbd2,crc16", "alias=fs-ext4"}},
		{"fs/jbd2/jbd2.ko.zst", []string{"depends="}},
		{"lib/crc16.ko.gz", nil},
		{"crypto/crc32c_generic.ko", []string{"alias=crypto-crc32c", "alias=crc32c"}},
		{"arch/x86/crypto/crc32c-intel.ko", []string{"alias=crypto-crc32c"}},
		{"drivers/net/virtio_net.ko", []string{"depends=net_failover,virtio-mmio", "alias=virtio:d00000001v*"}},
		{"net/core/net_failover.ko", []string{"softdep=pre: virtio_net"}},
		{"drivers/net/ethernet/intel/igb/igb.ko", []string{"depends=nothing", "alias=pci:old"}},
		{"drivers/dca/dca.ko", nil},
		{"drivers/net/ethernet/rare/rare.ko", []string{"alias=pci:v00001111d*sv*sd*bc*sc*i*", "softdep=post: dummy"}},
		{"drivers/net/dummy.ko", nil},
		{"drivers/net/ethernet/mlx4/mlx4_core.ko", []string{"alias=pci:mlx"}},
		{"drivers/net/ethernet/mlx4/mlx4_en.ko", []string{"depends=mlx4_core"}},
	} {
		files[dir+"kernel/"+m.path] = packed(filepath.Ext(m.path), module(m.fields...))
	}
	return files
}

// unpackedKernel puts the kernel's files into a root folder.
func unpackedKernel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range kernelFiles() {
		if strings.Contains(name, "..") {
			continue
		}
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// program is a file that can be init.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spate-target")
	write(t, path, fakekernel.Program(false))
	return path
}

// deb makes a Debian package of files; how is the ending of its data.tar.
func deb(t testing.TB, files map[string][]byte, how string) []byte {
	t.Helper()
	return ar("debian-binary", []byte("2.0\n"), "control.tar.xz", []byte("odd"), "data.tar"+how, packed(how, dataTar(t, files)))
}

// dataTar makes the archive of files that a package has.
func dataTar(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for _, name := range sorted(files) {
		if err := w.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(files[name])
	}
	_ = w.WriteHeader(&tar.Header{Name: "./lib/modules/" + version + "/build", Linkname: "/usr/src", Typeflag: tar.TypeSymlink})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

// ar makes an ar file of names and contents.
func ar(members ...any) []byte {
	b := []byte(arMagic)
	for i := 0; i < len(members); i += 2 {
		content := members[i+1].([]byte)
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", members[i], 0, 0, 0, "100644", len(content))
		b = append(b, content...)
		if len(content)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}
