package netboot

import (
	"fmt"
	"strconv"
	"strings"
)

// volume is the disk or one of its partitions.
type volume struct {
	Device string // /dev/nbd0p2
	Number int    // of the partition, 0 for the whole disk
	Part   partition
	FS     filesystem
	Known  bool // FS is
}

// String is the volume as a person may name it.
func (v volume) String() string {
	s := v.Device
	switch {
	case !v.Known:
		return s + " (no file system that is known)"
	case v.FS.Label != "":
		s += " LABEL=" + v.FS.Label
	}
	if v.FS.UUID != "" {
		s += " UUID=" + v.FS.UUID
	}
	return s + " (" + v.FS.Type + ")"
}

// partitionNumber reads root= where it names a device: the whole disk is 0. Whichever number of nbd device is written, the
// attached disk is meant: there is only one.
func partitionNumber(root string) (n int, named bool) {
	rest, ok := strings.CutPrefix(root, "/dev/nbd")
	if !ok {
		return 0, false
	}
	disk, number, ok := strings.Cut(rest, "p")
	if _, err := strconv.ParseUint(disk, 10, 8); err != nil {
		return 0, false
	}
	if !ok {
		return 0, true
	}
	n64, err := strconv.ParseUint(number, 10, 8)
	return int(n64), err == nil && n64 > 0
}

// findRoot finds what root= names among the volumes of the disk. When there is nothing, the error says what there is.
func findRoot(root string, all []volume) (volume, error) {
	number, named := partitionNumber(root)
	tag, value, tagged := strings.Cut(root, "=")
	value = strings.Trim(value, `"`)
	for _, v := range all {
		switch {
		case named && v.Number == number,
			tagged && tag == "LABEL" && v.Known && v.FS.Label == value,
			tagged && tag == "UUID" && v.Known && strings.EqualFold(v.FS.UUID, value),
			tagged && tag == "PARTUUID" && v.Number > 0 && strings.EqualFold(v.Part.UUID, value),
			tagged && tag == "PARTLABEL" && v.Number > 0 && v.Part.Label == value:
			return v, nil
		}
	}
	var there []string
	for _, v := range all {
		there = append(there, v.String())
	}
	if !named && (!tagged || tag != "LABEL" && tag != "UUID" && tag != "PARTUUID" && tag != "PARTLABEL") {
		return volume{}, fmt.Errorf("root=%.100s on the kernel command line is not understood: write /dev/nbd0, /dev/nbd0pNUMBER, LABEL=, UUID=, PARTUUID= or PARTLABEL=", root)
	}
	return volume{}, fmt.Errorf("the vDisk has no root=%.100s; it has: %s", root, strings.Join(there, ", "))
}
