package bootimage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"

	"github.com/spate-project/spate/bootsvc/parts"
)

// Show reads what is in a boot image, or in any initramfs: archives of the kind newc one behind the other, each not packed, or packed
// with zstd, xz or gzip; behind one that is packed with xz nothing is looked for. how says how they are packed. It reads to the
// end, where the sum over all that was packed stands.
func Show(r io.Reader) (all []Entry, how string, err error) {
	s := shower{in: &counted{r: bufio.NewReaderSize(r, 128<<10)}, left: maxImage}
	begin, _ := s.in.r.Peek(128 << 10) // an error comes again
	head, headErr := parts.Read(bytes.NewReader(begin), math.MaxInt64)
	for {
		more, err := s.zeros()
		switch {
		case err != nil:
			return s.all, s.how(), fmt.Errorf("a damaged boot image: %w", err)
		case !more && len(s.all) == 0:
			return nil, s.how(), errNoImage
		case !more && headErr == nil && s.in.n <= head.First:
			return s.all, s.how(), fmt.Errorf("a damaged boot image: it has %d bytes, and by its head the first of two parts ends at %d", s.in.n, head.First)
		case !more:
			return s.all, s.how(), nil
		}
		if err := s.archive(); err != nil {
			return s.all, s.how(), err
		}
	}
}

var errNoImage = errors.New("not a boot image: there is no cpio archive in newc format in it, neither as it stands nor packed with zstd, xz or gzip")

// shower reads one archive behind the other.
type shower struct {
	in   *counted
	left int64 // bytes that may still be unpacked
	all  []Entry
	ways []string // of packing
}

func (s *shower) how() string {
	if len(s.ways) == 0 {
		return "none"
	}
	return strings.Join(s.ways, ", ")
}

// zeros passes the zeros before an archive. It tells whether there is anything behind them.
func (s *shower) zeros() (more bool, err error) {
	for {
		b, err := s.in.r.Peek(1)
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		case b[0] != 0:
			return true, nil
		}
		_, _ = s.in.Read(make([]byte, 1)) // the byte that was looked at, which cannot fail
	}
}

// archive reads one archive to its end.
func (s *shower) archive() error {
	at := s.in.n
	plain, how, err := unpackOne(s.in)
	if !slices.Contains(s.ways, how) {
		s.ways = append(s.ways, how)
	}
	if err != nil {
		return s.fault(0, err)
	}
	defer plain.Close()
	before := len(s.all)
	whole := &atEnd{r: io.LimitReader(plain, s.left)}
	if err := s.names(cpio.NewReader(whole), whole); err != nil {
		return s.fault(before, err)
	}
	if how == notPacked && at%4 != 0 {
		return s.fault(before, errors.New("an archive that is not packed does not begin at a multiple of four bytes"))
	}
	if how != notPacked {
		if err := drain(whole); err != nil {
			return s.fault(before, err)
		}
	}
	s.left -= whole.n
	return nil
}

// names reads the names in an archive until its end.
func (s *shower) names(a *cpio.Reader, whole *atEnd) error {
	for before := len(s.all); ; {
		h, err := a.Next()
		switch {
		case errors.Is(err, io.EOF) && whole.ended && len(s.all) > before:
			return fmt.Errorf("it ends in or behind %s, without the mark at its end", s.all[len(s.all)-1].Name)
		case errors.Is(err, io.EOF) && len(s.all) > before:
			return nil
		case errors.Is(err, io.EOF):
			return cpio.ErrHeader // an archive of nothing is none
		case err != nil:
			return err
		case len(s.all) == maxMembers:
			return fmt.Errorf("more than %d files", maxMembers)
		}
		s.all = append(s.all, Entry{Name: h.Name, Mode: uint32(h.Mode), Bytes: h.Size, Link: h.Linkname})
	}
}

// fault says what is wrong with the archive of which the first name is all[before].
func (s *shower) fault(before int, err error) error {
	switch {
	case len(s.all) == 0 && errors.Is(err, cpio.ErrHeader):
		return errNoImage
	case len(s.all) == 0:
		return fmt.Errorf("a damaged boot image: %w", err)
	case len(s.all) == before && errors.Is(err, cpio.ErrHeader):
		return fmt.Errorf("a damaged boot image: what follows %s is no archive", s.all[before-1].Name)
	}
	return fmt.Errorf("a damaged boot image, after %s: %w", s.all[len(s.all)-1].Name, err)
}

// counted counts what was read.
type counted struct {
	r *bufio.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// ReadByte gives a single byte: without it package gzip would read more than it takes.
func (c *counted) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// atEnd is a reader that knows whether it has been read to its end: the archive's reader tells the end of what it reads from
// as it tells the archive's own.
type atEnd struct {
	r     io.Reader
	n     int64
	ended bool
}

func (a *atEnd) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	a.n += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil // the next call has it
	}
	a.ended = a.ended || errors.Is(err, io.EOF)
	return n, err
}
