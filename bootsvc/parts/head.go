package parts

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"
)

// File is the name of the head's file.
const File = "spate.parts"

// Head says what the first part of a boot image is good for.
type Head struct {
	// First is the length in bytes of head and first part.
	First int64
	// Vendors are those whose cards the first part drives, all of them; Cards are single ones of other vendors. Both are in order,
	// each once.
	Vendors []uint16
	Cards   []Card
}

// Drives tells whether a machine that boots with this card needs nothing but the first part.
func (h Head) Drives(c Card) bool {
	if _, all := slices.BinarySearch(h.Vendors, c.Vendor); all {
		return true
	}
	_, found := slices.BinarySearchFunc(h.Cards, c, Card.compare)
	return found
}

// Sort puts vendors and cards into order, each once, and leaves cards out whose vendor is there as a whole.
func (h *Head) Sort() {
	slices.Sort(h.Vendors)
	h.Vendors = slices.Compact(h.Vendors)
	h.Cards = slices.DeleteFunc(h.Cards, func(c Card) bool { return slices.Contains(h.Vendors, c.Vendor) })
	slices.SortFunc(h.Cards, Card.compare)
	h.Cards = slices.Compact(h.Cards)
}

// ErrHead says that a file does not begin with a head, or with a damaged one.
var ErrHead = errors.New("no head of a boot image with parts")

// line is the first of the file.
const line = "spate boot image 1\n"

// text is what the file holds.
func (h Head) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%sfirst %012d\n", line, h.First)
	vendors := slices.Clone(h.Vendors)
	for _, c := range h.Cards {
		vendors = append(vendors, c.Vendor)
	}
	slices.Sort(vendors)
	for _, v := range slices.Compact(vendors) {
		fmt.Fprintf(&b, "cards %04x", v)
		if _, all := slices.BinarySearch(h.Vendors, v); all {
			b.WriteString(" *\n")
			continue
		}
		for _, c := range h.Cards {
			if c.Vendor == v {
				fmt.Fprintf(&b, " %04x", c.Device)
			}
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "sum %08x\n", crc32.ChecksumIEEE([]byte(b.String())))
	return b.String()
}

// Bytes is the archive with the head's file: its length does not depend on First, and is a multiple of four.
func (h Head) Bytes() ([]byte, error) {
	text := h.text()
	if n := len(h.Vendors) + len(h.Cards); n > MaxCards {
		return nil, fmt.Errorf("%d cards and vendors are too many for a head, which takes %d", n, MaxCards)
	}
	if again, ok := parse(text); !ok || !again.equal(h) {
		return nil, fmt.Errorf("cards that are not in order, or %d bytes: %w", h.First, ErrHead)
	}
	return archive(text), nil
}

func (h Head) equal(o Head) bool {
	return h.First == o.First && slices.Equal(h.Vendors, o.Vendors) && slices.Equal(h.Cards, o.Cards)
}

// archive is a cpio archive with the one file.
func archive(text string) []byte {
	return slices.Concat(record(File, 0o100644, len(text)), padded([]byte(text)), record("TRAILER!!!", 0, 0))
}

// record is that of a file in an archive: magic, 13 numbers of eight hexadecimal digits, the name.
func record(name string, mode, size int) []byte {
	return padded(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00", 1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name))
}

func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// Read reads the head of a boot image of size bytes: some KiB from the begin of r. The error wraps ErrHead unless r fails.
func Read(r io.ReaderAt, size int64) (Head, error) {
	begin := len(record(File, 0, 0))
	b, err := read(r, 0, int64(begin))
	if err != nil {
		return Head{}, err
	}
	length, err := strconv.ParseUint(string(b[sizeAt:sizeAt+8]), 16, 32)
	if err != nil || length > uint64(maxText) || !bytes.Equal(b, record(File, 0o100644, int(length))) {
		return Head{}, ErrHead
	}
	if b, err = read(r, int64(begin), int64(length)); err != nil {
		return Head{}, err
	}
	h, ok := parse(string(b))
	own := int64(len(archive(string(b))))
	if !ok || h.First <= own || h.First > size || h.First%4 != 0 {
		return Head{}, ErrHead
	}
	return h, nil
}

// sizeAt is where a record says how long its file is.
const sizeAt = len("070701") + 6*8

// read reads n bytes. A file that is shorter has no head.
func read(r io.ReaderAt, at, n int64) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, at, n), b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrHead
		}
		return nil, err
	}
	return b, nil
}

// parse reads the head's file. It is written in one way only: what is not the same when it is written anew does not count.
func parse(text string) (h Head, ok bool) {
	for l := range strings.Lines(text) {
		words := strings.Fields(l)
		switch {
		case len(words) == 2 && words[0] == "first":
			h.First, _ = strconv.ParseInt(words[1], 10, 64) // what is no number is not written so
		case len(words) > 2 && words[0] == "cards":
			if h.take(words[1], words[2:]); len(h.Cards)+len(h.Vendors) > MaxCards {
				return Head{}, false
			}
		}
	}
	return h, h.First > 0 && h.ordered() && h.text() == text
}

// take takes the cards of a vendor.
func (h *Head) take(vendor string, devices []string) {
	v, _ := strconv.ParseUint(vendor, 16, 16) // as above
	for _, word := range devices {
		if word == "*" {
			h.Vendors = append(h.Vendors, uint16(v))
			continue
		}
		d, _ := strconv.ParseUint(word, 16, 16) // as above
		h.Cards = append(h.Cards, Card{uint16(v), uint16(d)})
	}
}

// ordered tells whether both lists are in order, with each vendor and card once, and no card of a vendor that is there as a whole.
func (h Head) ordered() bool {
	for i, v := range h.Vendors {
		if !plain(v) || i > 0 && h.Vendors[i-1] >= v {
			return false
		}
	}
	for i, c := range h.Cards {
		if _, all := slices.BinarySearch(h.Vendors, c.Vendor); all || !plain(c.Vendor) || i > 0 && h.Cards[i-1].compare(c) >= 0 {
			return false
		}
	}
	return true
}
