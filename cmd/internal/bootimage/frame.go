package bootimage

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// unpackOne is unpack for one archive among several: it reads to the end of what is packed together, and not a byte more.
func unpackOne(in *counted) (_ io.ReadCloser, how string, err error) {
	begin, err := in.r.Peek(6)
	if err != nil && err != io.EOF {
		return nil, notPacked, err
	}
	if bytes.HasPrefix(begin, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, "gzip", err
		}
		z.Multistream(false)
		return z, "gzip", nil
	}
	for _, p := range packers {
		if bytes.HasPrefix(begin, []byte(p.magic)) {
			r := io.Reader(in)
			if p.name == "zstd" {
				r = &frame{in: in}
			}
			u, err := p.open(r)
			return u, p.name, err
		}
	}
	return io.NopCloser(in), notPacked, nil
}

// frame reads one zstd frame (RFC 8878 section 3.1.1), which unpacks to one archive: kernels take several frames for several ones.
type frame struct {
	in    *counted
	left  int64 // bytes until the next block, or until the end
	state func(f *frame) error
	sum   int64 // bytes of the sum at the end
}

// Read gives the frame as it stands.
func (f *frame) Read(b []byte) (int, error) {
	if f.state == nil {
		f.state = (*frame).header
	}
	for f.left == 0 {
		if err := f.state(f); err != nil {
			return 0, err
		}
	}
	n, err := f.in.Read(b[:min(int64(len(b)), f.left)])
	f.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// header is before the first block.
func (f *frame) header() error {
	begin, err := f.in.r.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var h zstd.Header
	if err := h.Decode(begin); err != nil {
		return err
	}
	f.left, f.state = int64(h.HeaderSize), (*frame).block
	if h.HasCheckSum {
		f.sum = 4
	}
	return nil
}

// block is before a block: three bytes, which say whether it is the last one, its type, and its size.
func (f *frame) block() error {
	const blockRLE = 1 // one byte, however long it is unpacked
	b, err := f.in.r.Peek(3)
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	word := int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16
	f.left = 3 + word>>3
	if word>>1&3 == blockRLE {
		f.left = 3 + 1
	}
	if word&1 == 1 {
		f.state = (*frame).trailer
	}
	return nil
}

// trailer is behind the last block.
func (f *frame) trailer() error {
	if f.sum == 0 {
		return io.EOF
	}
	f.left, f.sum = f.sum, 0
	return nil
}
