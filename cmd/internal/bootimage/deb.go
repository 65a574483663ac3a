package bootimage

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// wanted are the folders of a kernel's package that are unpacked.
var wanted = []string{"lib/modules/", "usr/lib/modules/", "boot/vmlinuz-", "boot/vmlinux-"}

// unpackDeb writes modules and kernel of a Debian package below dir, which exists. What else a package has is not
// written, links among it. Nothing is written outside dir.
func unpackDeb(ctx context.Context, file, dir string, progress func(done, total int64)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	total := fi.Size()
	a, err := newArReader(watched(ctx, f, func(done int64) { progress(done, total) }))
	if err != nil {
		return err
	}
	for {
		name, err := a.next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: no data.tar in it", errAr)
		case err != nil:
			return err
		}
		if strings.HasPrefix(name, "data.tar") {
			return unpackTar(a, dir)
		}
	}
}

func unpackTar(r io.Reader, dir string) error {
	plain, _, err := unpack(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := int64(maxPackage)
	t := tar.NewReader(plain)
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			if err := drain(plain); err != nil {
				return fmt.Errorf("data.tar: %w", err)
			}
			return nil
		case err != nil:
			return fmt.Errorf("data.tar: %w", err)
		case n == maxMembers:
			return fmt.Errorf("data.tar has more than %d files", maxMembers)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if h.Typeflag != tar.TypeReg || !prefixed(name, wanted) {
			continue
		}
		if left -= h.Size; left < 0 {
			return fmt.Errorf("data.tar unpacks to more than %d bytes", int64(maxPackage))
		}
		if err := writeIn(root, name, t); err != nil {
			return err
		}
	}
}

func prefixed(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// writeIn writes a file below root, with its folders.
func writeIn(root *os.Root, name string, r io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// readerFunc is an io.Reader.
type readerFunc func(b []byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// watched reads from r until ctx ends, and reports how many bytes were read so far.
func watched(ctx context.Context, r io.Reader, report func(done int64)) io.Reader {
	done := int64(0)
	return readerFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := r.Read(b)
		done += int64(n)
		report(done)
		return n, err
	})
}
