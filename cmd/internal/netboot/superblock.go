package netboot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// filesystem is what the beginning of a device says about its file system.
type filesystem struct {
	Type  string // as mount takes it
	Label string
	UUID  string // empty where the file system has none
	// ReadOnly says that a file system of this type can never be written.
	ReadOnly bool
}

// layouts are where each file system has its magic number, label and UUID; offsets in bytes from the start of the device.
var layouts = []struct {
	name             string
	magicAt          int64
	magic            string
	labelAt, uuidAt  int64
	labelLen         int
	readOnly, noUUID bool
}{
	{name: "ext4", magicAt: 0x438, magic: "\x53\xef", labelAt: 0x478, labelLen: 16, uuidAt: 0x468},
	{name: "xfs", magicAt: 0, magic: "XFSB", labelAt: 108, labelLen: 12, uuidAt: 32},
	{name: "erofs", magicAt: 0x400, magic: "\xe2\xe1\xf5\xe0", labelAt: 0x440, labelLen: 16, uuidAt: 0x430, readOnly: true},
	{name: "squashfs", magicAt: 0, magic: "hsqs", readOnly: true, noUUID: true},
	{name: "btrfs", magicAt: 0x10040, magic: "_BHRfS_M", labelAt: 0x1012b, labelLen: 256, uuidAt: 0x10020}, // last: behind the first page
}

// probe finds out what file system a device holds. The error of reading is that of the device.
func probe(r io.ReaderAt) (f filesystem, found bool, err error) {
	read := func(at int64, n int) ([]byte, error) {
		b := make([]byte, n)
		got, err := r.ReadAt(b, at)
		if err == io.EOF || got == n { //nolint:errorlint // io.ReaderAt says io.EOF itself
			return b[:got], nil
		}
		return nil, err
	}
	for _, l := range layouts {
		magic, err := read(l.magicAt, len(l.magic))
		if err != nil {
			return f, false, err
		}
		if string(magic) != l.magic {
			continue
		}
		f = filesystem{Type: l.name, ReadOnly: l.readOnly}
		if l.noUUID {
			return f, true, nil
		}
		label, err := read(l.labelAt, l.labelLen)
		if err != nil {
			return f, false, err
		}
		id, err := read(l.uuidAt, 16)
		if err != nil {
			return f, false, err
		}
		f.Label = string(label)
		if i := bytes.IndexByte(label, 0); i >= 0 {
			f.Label = string(label[:i])
		}
		if len(id) == 16 {
			f.UUID = uuid(id)
		}
		return f, true, nil
	}
	return f, false, nil
}

const (
	// pageBytes are the bytes at the beginning of a device that are read first: what most roots have lies in them, and the kernel has
	// read them when it looked for partitions.
	pageBytes = 4 << 10
	// headBytes are those in which all of layouts lie, and partition tables.
	headBytes = 68 << 10
)

// head is a device whose beginning is read in two steps at the most: it comes over a network.
type head struct {
	device io.ReaderAt
	bytes  []byte
	whole  bool // all of headBytes were read, or asked for
}

func newHead(device io.ReaderAt) (*head, error) {
	h := &head{device: device}
	return h, h.read(pageBytes)
}

// read reads so many bytes, or all where the device is shorter.
func (h *head) read(size int) error {
	b := make([]byte, size)
	n, err := h.device.ReadAt(b, 0)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt says io.EOF itself
		return err
	}
	h.bytes = b[:n]
	return nil
}

// ReadAt reads what is in the head from there.
func (h *head) ReadAt(p []byte, at int64) (int, error) {
	end := at + int64(len(p))
	if end > int64(len(h.bytes)) && end <= headBytes && !h.whole {
		if err := h.read(headBytes); err != nil {
			return 0, err
		}
		h.whole = true
	}
	if at >= 0 && end <= int64(len(h.bytes)) {
		return copy(p, h.bytes[at:]), nil
	}
	return h.device.ReadAt(p, at)
}

// uuid writes 16 bytes as they stand.
func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// guid writes a GUID, whose first three fields are little-endian (UEFI specification, appendix A).
func guid(b []byte) string {
	c := slices.Clone(b)
	slices.Reverse(c[:4])
	slices.Reverse(c[4:6])
	slices.Reverse(c[6:8])
	return uuid(c)
}

// partition is an entry of a partition table.
type partition struct {
	Number int
	UUID   string // PARTUUID, in small letters
	Label  string // PARTLABEL
}

const sector = 512

// partitions reads the GPT of a device, or its MBR's four primary partitions. A device without either has none.
func partitions(r io.ReaderAt) ([]partition, error) {
	head := make([]byte, 2*sector)
	if n, err := r.ReadAt(head, 0); n < len(head) {
		if err == io.EOF { //nolint:errorlint // io.ReaderAt says io.EOF itself
			return nil, nil
		}
		return nil, err
	}
	if string(head[sector:sector+8]) == "EFI PART" {
		return gpt(r, head[sector:])
	}
	if head[510] != 0x55 || head[511] != 0xaa {
		return nil, nil
	}
	var out []partition
	disk := binary.LittleEndian.Uint32(head[440:])
	for i := range 4 {
		if head[446+16*i+4] != 0 {
			out = append(out, partition{Number: i + 1, UUID: fmt.Sprintf("%08x-%02x", disk, i+1)})
		}
	}
	return out, nil
}

func gpt(r io.ReaderAt, header []byte) ([]partition, error) {
	at, count, size := binary.LittleEndian.Uint64(header[72:]), binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if size < 128 || size > 4096 || at < 2 || at > 1<<40 {
		return nil, nil // damaged; the kernel shows no partitions either
	}
	var out []partition
	entry := make([]byte, 128)
	for i := range min(count, mostPartitions) {
		if n, err := r.ReadAt(entry, int64(at)*sector+int64(i)*int64(size)); n < len(entry) {
			if err == io.EOF { //nolint:errorlint // io.ReaderAt says io.EOF itself
				return out, nil
			}
			return nil, err
		}
		if !bytes.Equal(entry[:16], make([]byte, 16)) {
			out = append(out, partition{Number: int(i) + 1, UUID: guid(entry[16:32]), Label: utf16(entry[56:128])})
		}
	}
	return out, nil
}

func utf16(b []byte) string {
	var s strings.Builder
	for ; len(b) >= 2 && b[0]|b[1] != 0; b = b[2:] {
		s.WriteRune(rune(binary.LittleEndian.Uint16(b)))
	}
	return s.String()
}
