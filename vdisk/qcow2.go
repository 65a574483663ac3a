package vdisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What is used of a qcow2 file (docs/interop/qcow2.txt of QEMU).
const (
	qcow2Header     = 104      // bytes of the header's fixed part
	qcow2MaxL1      = 32 << 20 // bytes of the first table, QEMU's own bound
	qcow2MinCluster = 9        // as a power of two
	qcow2MaxCluster = 21       // as a power of two
	qcow2Offset     = 1<<56 - 1<<9
	qcow2Compressed = 1 << 62
	qcow2Zero       = 1 << 0
	qcow2Extended   = 1 << 4 // incompatible feature: entries of the second table take 16 bytes
)

// wholeQcow2 does for qcow2 what "qemu-img check" leaves out: what the tables name must lie in a file of size bytes.
// Behind its end qemu-img reads zeros, also for the tables themselves: a file that was cut before them is an empty disk
// to it, with some space lost.
func wholeQcow2(r io.ReaderAt, size int64) error {
	var head [qcow2Header]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return cutTable("header", 0, size, err)
	}
	be := binary.BigEndian
	bits := be.Uint32(head[20:])
	disk, entries, at := be.Uint64(head[24:]), int64(be.Uint32(head[36:])), int64(be.Uint64(head[40:]))
	if bits < qcow2MinCluster || bits > qcow2MaxCluster || entries*8 > qcow2MaxL1 {
		return &toolError{"", 1, "the header of the qcow2 image contradicts itself"}
	}
	stride := int64(8)
	if be.Uint32(head[4:]) >= 3 && be.Uint64(head[72:])&qcow2Extended != 0 {
		stride = 16
	}
	first := make([]byte, entries*8)
	if err := readTable(r, first, at, "first table", size); err != nil {
		return err
	}
	cluster := int64(1) << bits
	second := make([]byte, cluster)
	perTable := cluster / stride
	tables := int64(0) // each lies in the file once, which bounds the work
	for i := range entries {
		at := int64(be.Uint64(first[i*8:]) & qcow2Offset)
		if at == 0 {
			continue
		}
		if tables++; tables*cluster > size {
			return &toolError{"", 1, "the tables of the qcow2 image contradict one another"}
		}
		if err := readTable(r, second, at, "second table", size); err != nil {
			return err
		}
		for j := range perTable {
			guest := uint64(i*perTable+j) << bits
			if guest >= disk {
				break
			}
			length := int64(min(uint64(cluster), disk-guest))
			if err := wholeCluster(be.Uint64(second[j*stride:]), bits, length, stride == 16, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// wholeCluster checks one entry of a second table, for length bytes of the disk.
func wholeCluster(entry uint64, bits uint32, length int64, extended bool, size int64) error {
	at := int64(entry & qcow2Offset)
	switch {
	case entry&qcow2Compressed != 0:
		at = int64(entry & (1<<(62-(bits-8)) - 1))
		length = 1 // how long it is only its decompression tells
	case at == 0 || !extended && entry&qcow2Zero != 0:
		return nil
	case extended:
		length = 1 // only a part of it may be in use
	}
	if at+length > size {
		return &toolError{"", 1, fmt.Sprintf("the file ends at byte %d, and its tables name data up to byte %d", size, at+length)}
	}
	return nil
}

func readTable(r io.ReaderAt, b []byte, at int64, what string, size int64) error {
	if at < 0 || at > size-int64(len(b)) {
		return cutTable(what, at, size, io.EOF)
	}
	if _, err := r.ReadAt(b, at); err != nil {
		return cutTable(what, at, size, err)
	}
	return nil
}

func cutTable(what string, at, size int64, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	return &toolError{"", 1, fmt.Sprintf("the file ends at byte %d, and the %s of the qcow2 image at byte %d is not whole", size, what, at)}
}
