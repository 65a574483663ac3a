package bootimage

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// packers are the ways in which files are compressed, by how the file begins.
var packers = []struct {
	name, magic string
	open        func(io.Reader) (io.ReadCloser, error)
}{
	{"xz", "\xfd7zXZ\x00", openXZ},
	{"zstd", "\x28\xb5\x2f\xfd", func(r io.Reader) (io.ReadCloser, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}},
	{"gzip", "\x1f\x8b", func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
}

// notPacked says that a file stands as it is.
const notPacked = "none"

// maxWindow is the greatest window that the kernel takes.
const maxWindow = 128 << 20

// unpack reads what r has, unpacked when it is packed, and says how it is packed. The caller closes it.
func unpack(r io.Reader) (_ io.ReadCloser, how string, err error) {
	b := bufio.NewReaderSize(r, 64<<10)
	begin, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	for _, p := range packers {
		if bytes.HasPrefix(begin, []byte(p.magic)) {
			u, err := p.open(b)
			if err != nil {
				return nil, p.name, fmt.Errorf("%s: %w", p.name, err)
			}
			return u, p.name, nil
		}
	}
	return io.NopCloser(b), notPacked, nil
}

// drain reads what is left behind an archive: there stands the sum over all that was packed. What follows the packed data and
// is none itself, such as zeros, is not looked at.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, io.LimitReader(r, maxPackage))
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, zstd.ErrMagicMismatch) {
		return nil
	}
	return err
}

// plainName is the name of a file without what says how it is packed.
func plainName(name string) string {
	switch ext := path.Ext(name); ext {
	case ".xz", ".zst", ".gz":
		return strings.TrimSuffix(name, ext)
	}
	return name
}

// readBounded reads all of r, and refuses more than most bytes.
func readBounded(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	return b, err
}
