package vdisk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
)

// Format is a disk image format, as qemu-img calls it.
type Format string

// The formats that Import takes.
const (
	FormatRaw   Format = "raw"
	FormatQcow2 Format = "qcow2"
	FormatVPC   Format = "vpc" // VHD
	FormatVHDX  Format = "vhdx"
	FormatVMDK  Format = "vmdk"
	FormatVDI   Format = "vdi"
)

// String gives the name people use.
func (f Format) String() string {
	if f == FormatVPC {
		return "vhd"
	}
	return string(f)
}

const (
	// probeHead is how much of an image's beginning detect wants, in bytes.
	probeHead = 4096
	vdiAt     = 64
	vdiMagic  = 0xbeda107f
)

// packed are formats that hold an image rather than being one, by the way they begin, and what unpacks them.
var packed = []struct{ magic, name, unpack string }{
	{"\x1f\x8b", "gzip", "zcat"}, {"\xfd7zXZ\x00", "xz", "xzcat"}, {"BZh", "bzip2", "bzcat"},
	{"\x28\xb5\x2f\xfd", "zstd", "zstdcat"}, {"PK\x03\x04", "zip", "unzip -p"}, {"7z\xbc\xaf\x27\x1c", "7z", "7z x -so"},
}

// detect tells the format of an image of that size from its first probeHead and last footerSize bytes, fewer
// where it is smaller. What is none of the known ones is raw, unless it is packed, which is an error.
func detect(head, tail []byte, size int64) (Format, error) {
	for _, p := range packed {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return "", fmt.Errorf("is packed with %s; unpack it first, or on the way: %s IMAGE | spate vdisk import - --name NAME --into DIR",
				p.name, p.unpack)
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte("QFI\xfb")):
		if len(head) >= 8 && binary.BigEndian.Uint32(head[4:]) == 1 {
			return "", fmt.Errorf("is in the old qcow format; convert it: qemu-img convert -O qcow2 IMAGE NEW")
		}
		return FormatQcow2, nil
	case bytes.HasPrefix(head, []byte("vhdxfile")):
		return FormatVHDX, nil
	case bytes.HasPrefix(head, []byte("KDMV")), bytes.HasPrefix(head, []byte("COWD")),
		bytes.HasPrefix(head, []byte("# Disk DescriptorFile")):
		return FormatVMDK, nil
	case len(head) >= vdiAt+4 && binary.LittleEndian.Uint32(head[vdiAt:]) == vdiMagic:
		return FormatVDI, nil
	}
	if _, err := parseFooter(tail); err == nil && size >= footerSize {
		return FormatVPC, nil
	}
	if bytes.HasPrefix(head, []byte(footerCookie)) {
		return "", fmt.Errorf("begins as a VHD and has no footer at its end: it was cut; get the whole file")
	}
	return FormatRaw, nil
}

// extensions say of which format a file is meant to be.
var extensions = map[string]Format{
	".qcow2": FormatQcow2, ".vhd": FormatVPC, ".vpc": FormatVPC, ".vhdx": FormatVHDX, ".vmdk": FormatVMDK, ".vdi": FormatVDI,
}

// named refuses a file that is called as an image of a format and has nothing of it: garbage would become a disk.
func named(path string, found Format) error {
	ext := strings.ToLower(filepath.Ext(path))
	meant, foreign := extensions[ext]
	if !foreign || found != FormatRaw || strings.HasSuffix(path, "-flat.vmdk") { // which is the raw part of a VMDK
		return nil
	}
	return fmt.Errorf("is called %s and does not begin as a %s image: it is damaged, or a raw image with the wrong name; a raw one is imported so: "+
		"spate vdisk import - --name NAME --into DIR < %s", ext, meant, filepath.Base(path))
}
