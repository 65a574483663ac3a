package bootimage

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic = "!<arch>\n"
	arEnd   = "`\n"
	// A member's header: name, time, owner, group, mode, size in decimal digits, end.
	arHeader          = 60
	arName            = 16
	arSize, arSizeEnd = 48, 58
	arMark, arMarkEnd = 58, 60
)

var errAr = errors.New("not a Debian package")

// arReader reads the ar file that a Debian package is (deb(5)).
type arReader struct {
	r     io.Reader
	left  int64 // of the member that is being read
	pad   int64
	count int
}

// newArReader reads the begin of the file.
func newArReader(r io.Reader) (*arReader, error) {
	var magic [len(arMagic)]byte
	_, err := io.ReadFull(r, magic[:])
	if err != nil && !ended(err) {
		return nil, err
	}
	if string(magic[:]) != arMagic {
		return nil, fmt.Errorf("%w: it does not begin with %q", errAr, arMagic)
	}
	return &arReader{r: r}, nil
}

// next goes to the next member, whose bytes Read gives until the next call. The end of the file is io.EOF.
func (a *arReader) next() (name string, err error) {
	switch _, err := io.CopyN(io.Discard, a.r, a.left+a.pad); {
	case ended(err):
		return "", fmt.Errorf("%w: it ends in the middle of a file", errAr)
	case err != nil:
		return "", err
	}
	a.left, a.pad = 0, 0
	var h [arHeader]byte
	switch _, err := io.ReadFull(a.r, h[:]); {
	case errors.Is(err, io.EOF):
		return "", io.EOF
	case ended(err):
		return "", fmt.Errorf("%w: it ends in the middle of a header", errAr)
	case err != nil:
		return "", err
	}
	if a.count++; a.count > maxArchive {
		return "", fmt.Errorf("%w: more than %d files", errAr, maxArchive)
	}
	size, err := strconv.ParseInt(strings.TrimRight(string(h[arSize:arSizeEnd]), " "), 10, 64)
	if err != nil || size < 0 || string(h[arMark:arMarkEnd]) != arEnd {
		return "", fmt.Errorf("%w: header %d is damaged", errAr, a.count)
	}
	a.left, a.pad = size, size%2
	return strings.TrimRight(strings.TrimRight(string(h[:arName]), " "), "/"), nil
}

// ended tells whether the file has ended, and not that it could not be read.
func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Read reads from the member.
func (a *arReader) Read(b []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	n, err := a.r.Read(b[:min(int64(len(b)), a.left)])
	a.left -= int64(n)
	if errors.Is(err, io.EOF) && a.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
