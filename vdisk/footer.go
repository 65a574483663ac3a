package vdisk

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The footer of a VHD ("Virtual Hard Disk Image Format Specification", Microsoft, 2006; big-endian).
const (
	footerSize   = 512
	footerCookie = "conectix"

	vhdFixed        = 2
	vhdDynamic      = 3
	vhdDifferencing = 4
)

// footer is what we need of the footer of a VHD.
type footer struct {
	size int64 // of the disk in bytes: "current size", not the product of cylinders, heads and sectors
	kind uint32
}

// parseFooter reads the last 512 bytes of a VHD.
func parseFooter(b []byte) (footer, error) {
	if len(b) != footerSize || string(b[:8]) != footerCookie {
		return footer{}, errors.New("no VHD footer")
	}
	sum := uint32(0)
	for i, c := range b {
		if i < 64 || i >= 68 {
			sum += uint32(c)
		}
	}
	if ^sum != binary.BigEndian.Uint32(b[64:]) {
		return footer{}, errors.New("checksum of the VHD footer is wrong")
	}
	f := footer{size: int64(binary.BigEndian.Uint64(b[48:])), kind: binary.BigEndian.Uint32(b[60:])}
	if f.kind < vhdFixed || f.kind > vhdDifferencing {
		return footer{}, fmt.Errorf("VHD footer: disk type %d is not known", f.kind)
	}
	if f.size <= 0 {
		return footer{}, fmt.Errorf("VHD footer: disk size %d makes no sense", f.size)
	}
	return f, nil
}
