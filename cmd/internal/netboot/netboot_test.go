package netboot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// image is a device of some bytes with pieces at places.
func image(size int, pieces map[int]string) *bytes.Reader {
	b := make([]byte, size)
	for at, s := range pieces {
		copy(b[at:], s)
	}
	return bytes.NewReader(b)
}

const (
	id     = "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"
	idText = "01234567-89ab-cdef-0123-456789abcdef"
)

func TestAFileSystemIsKnownByItsSuperblock(t *testing.T) {
	for _, c := range []struct {
		pieces map[int]string
		want   filesystem
	}{
		{map[int]string{0x438: "\x53\xef", 0x478: "root\x00x", 0x468: id}, filesystem{"ext4", "root", idText, false}},
		{map[int]string{0: "XFSB", 108: "twelve-chars", 32: id}, filesystem{"xfs", "twelve-chars", idText, false}},
		{map[int]string{0x10040: "_BHRfS_M", 0x1012b: "data", 0x10020: id}, filesystem{"btrfs", "data", idText, false}},
		{map[int]string{0x400: "\xe2\xe1\xf5\xe0", 0x440: "ro", 0x430: id}, filesystem{"erofs", "ro", idText, true}},
		{map[int]string{0: "hsqs"}, filesystem{"squashfs", "", "", true}},
	} {
		for _, size := range []int{1 << 17, 0x1012b + 256} {
			h, err := newHead(image(size, c.pieces))
			if err != nil {
				t.Fatal(err)
			}
			if got, found, err := probe(h); !found || err != nil || got != c.want {
				t.Errorf("%+v, %v, %v; want %+v", got, found, err, c.want)
			}
		}
	}
	for _, size := range []int{0, 511, 4096, 1 << 17} {
		if got, found, err := probe(image(size, nil)); found || err != nil {
			t.Errorf("%d zeros are %+v, %v", size, got, err)
		}
	}
}

// counted notes how far a device was read, and how often.
type counted struct {
	io.ReaderAt
	reads int
	end   int64
}

func (c *counted) ReadAt(p []byte, at int64) (int, error) {
	c.reads++
	c.end = max(c.end, at+int64(len(p)))
	return c.ReaderAt.ReadAt(p, at)
}

// Of most roots one page is read; of what lies behind it, and of partition tables, all in one more read.
func TestAPageOfTheDiskSaysWhatItHolds(t *testing.T) {
	for name, c := range map[string]struct {
		device io.ReaderAt
		reads  int
		end    int64
	}{
		"ext4":       {image(1<<20, map[int]string{0x438: "\x53\xef"}), 1, pageBytes},
		"btrfs":      {image(1<<20, map[int]string{0x10040: "_BHRfS_M"}), 2, headBytes},
		"nothing":    {image(1<<20, nil), 2, headBytes},
		"one page":   {image(pageBytes, nil), 2 + 1, headBytes}, // and one for what is not there
		"partitions": {bytes.NewReader(append(gptImage(), make([]byte, 1<<20)...)), 2, headBytes},
	} {
		d := &counted{ReaderAt: c.device}
		h, err := newHead(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := probe(h); err != nil {
			t.Error(err)
		}
		if _, err := partitions(h); err != nil {
			t.Error(err)
		}
		if d.reads != c.reads || d.end != c.end {
			t.Errorf("%s: %d reads to %d", name, d.reads, d.end)
		}
	}
}

// gptImage is a disk with partitions 1 and 3.
func gptImage() []byte {
	b := make([]byte, 2048)
	copy(b[sector:], "EFI PART")
	binary.LittleEndian.PutUint64(b[sector+72:], 2)
	binary.LittleEndian.PutUint32(b[sector+80:], 4)
	binary.LittleEndian.PutUint32(b[sector+84:], 128)
	for _, i := range []int{0, 2} {
		e := b[2*sector+128*i:]
		e[0] = 1
		copy(e[16:], id)
		for j, r := range fmt.Sprintf("part%d", i) {
			e[56+2*j] = byte(r)
		}
	}
	return b
}

func TestPartitionsAreFoundByTheirIdentifiers(t *testing.T) {
	const want = "[{1 67452301-ab89-efcd-0123-456789abcdef part0} {3 67452301-ab89-efcd-0123-456789abcdef part2}]"
	if got, err := partitions(bytes.NewReader(gptImage())); err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
	mbr := image(1024, map[int]string{440: "\x78\x56\x34\x12", 446 + 16 + 4: "\x83", 510: "\x55\xaa"})
	if got, err := partitions(mbr); err != nil || fmt.Sprint(got) != "[{2 12345678-02 }]" {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzSuperblock(f *testing.F) {
	f.Add(gptImage())
	f.Add([]byte("XFSB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := newHead(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := probe(h); err != nil {
			t.Error(err)
		}
		got, err := partitions(h)
		if err != nil || len(got) > mostPartitions {
			t.Errorf("%d partitions, %v", len(got), err)
		}
		again, err := partitions(io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
		if err != nil || !slices.Equal(got, again) {
			t.Errorf("%v by the head, %v without, %v", got, again, err)
		}
	})
}

func TestTheRootIsTheVolumeThatIsNamed(t *testing.T) {
	all := []volume{
		{Device: "/dev/nbd0"},
		{Device: "/dev/nbd0p1", Number: 1, Part: partition{1, "aa-01", "ESP"}},
		{Device: "/dev/nbd0p2", Number: 2, Part: partition{2, "aa-02", "root"}, FS: filesystem{Type: "ext4", Label: "system", UUID: idText}, Known: true},
	}
	for root, want := range map[string]string{
		"/dev/nbd0": "/dev/nbd0", "/dev/nbd0p2": "/dev/nbd0p2", "/dev/nbd5p1": "/dev/nbd0p1", "LABEL=system": "/dev/nbd0p2", `LABEL="system"`: "/dev/nbd0p2",
		"UUID=" + strings.ToUpper(idText): "/dev/nbd0p2", "PARTUUID=AA-01": "/dev/nbd0p1", "PARTLABEL=root": "/dev/nbd0p2",
	} {
		if v, err := findRoot(root, all); err != nil || v.Device != want {
			t.Errorf("%s: %v, %v; want %s", root, v, err, want)
		}
	}
	for root, want := range map[string]string{
		"/dev/sda1": "is not understood", "": "is not understood", "/dev/nbd": "is not understood", "/dev/nbd0p0": "is not understood",
		"LABEL=": "it has: /dev/nbd0 (no file system that is known), ", "UUID=1": "/dev/nbd0p2 LABEL=system UUID=" + idText + " (ext4)", "/dev/nbd0p3": "has no root=/dev/nbd0p3",
	} {
		if v, err := findRoot(root, all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", root, v, err, want)
		}
	}
}

// The index finds for each device what comparing it with every alias would find.
func TestTheIndexOfAliasesFindsWhatTheListFinds(t *testing.T) {
	list := &modules.List{Aliases: []modules.Alias{
		{Pattern: "pci:v00008086d000015B8sv*sd*bc*sc*i*", Name: "e1000e"}, {Pattern: "pci:v00001AF4d*", Name: "virtio_pci"},
		{Pattern: "virtio:d00000001v*", Name: "virtio_net"}, {Pattern: "acpi*:PNP0C14:*", Name: "wmi"}, {Pattern: "*", Name: "any"}, {Pattern: "platform-regulatory", Name: "cfg80211"},
	}}
	x := newIndex(list.Aliases)
	for _, alias := range []string{
		"pci:v00008086d000015B8sv00001043sd000085F0bc02sc00i00", "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00", "virtio:d00000001v00001AF4",
		"acpi:PNP0C14:", "acpi9:PNP0C14:x", "platform-regulatory", "pci", "", "[:",
	} {
		got, want := x.match(alias), list.Match(alias)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: %v, want %v", alias, got, want)
		}
	}
}
