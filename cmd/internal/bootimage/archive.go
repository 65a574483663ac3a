package bootimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
)

// Entry is a file, folder or device of a boot image.
type Entry struct {
	// Name is its path without the first slash.
	Name string
	// Mode has the file type as well, as stat(2) tells it.
	Mode uint32
	// Bytes is the size of its content, Link where a symbolic link leads.
	Bytes int64
	Link  string
}

// ModeString writes the mode as ls does.
func (e Entry) ModeString() string {
	kind := map[uint32]string{typeFolder: "d", typeFile: "-", typeChar: "c", cpio.TypeSymlink: "l", cpio.TypeBlock: "b", cpio.TypeFifo: "p"}[e.Mode&typeMask]
	if kind == "" {
		kind = "?"
	}
	return kind + fs.FileMode(e.Mode & 0o777).String()[1:]
}

// File types, as stat(2) tells them.
const (
	typeMask   = cpio.ModeType
	typeFolder = cpio.TypeDir
	typeFile   = cpio.TypeReg
	typeChar   = cpio.TypeChar
)

// item is an Entry with its content, or with the numbers of a device.
type item struct {
	Entry
	content      []byte
	major, minor uint32
}

// contents is what goes into an image, by name.
type contents map[string]item

// file adds a file with the folders above it.
func (c contents) file(name string, mode uint32, content []byte) {
	c.put(item{Entry: Entry{Name: name, Mode: typeFile | mode, Bytes: int64(len(content))}, content: content})
}

func (c contents) folder(name string) {
	c.put(item{Entry: Entry{Name: name, Mode: typeFolder | 0o755}})
}

func (c contents) device(name string, mode, major, minor uint32) {
	c.put(item{Entry: Entry{Name: name, Mode: typeChar | mode}, major: major, minor: minor})
}

func (c contents) put(i item) {
	i.Name = strings.TrimPrefix(path.Clean("/"+i.Name), "/")
	if above := path.Dir(i.Name); above != "." {
		if _, ok := c[above]; !ok {
			c.folder(above)
		}
	}
	c[i.Name] = i
}

// entries gives what is in the image, in its order: a folder comes before what is in it.
func (c contents) entries() []Entry {
	var all []Entry
	for _, name := range sorted(c) {
		all = append(all, c[name].Entry)
	}
	return all
}

// write writes the archive, as one zstd frame unless plain. It says how many bytes that is unpacked.
func (c contents) write(ctx context.Context, w io.Writer, plain bool, done func(bytes int64)) (unpacked int64, err error) {
	out := w
	var frame *zstd.Encoder
	if !plain {
		// One goroutine: the bytes do not depend on how many processors there are. The best level is 11 % smaller than the
		// default and takes some seconds, once; each boot of each machine loads the image.
		frame, err = zstd.NewWriter(w, zstd.WithWindowSize(imageWindow), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBestCompression))
		if err != nil {
			return 0, err
		}
		out = frame
	}
	err = c.archive(writerFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := out.Write(b)
		unpacked += int64(n)
		done(unpacked)
		return n, err
	}))
	if frame != nil {
		err = errors.Join(err, frame.Close())
	}
	return unpacked, err
}

func (c contents) archive(w io.Writer) error {
	a := cpio.NewWriter(w)
	for n, name := range sorted(c) {
		i, inode := c[name], int64(n+1)
		if i.Mode&typeMask == typeChar {
			// The package does not write the numbers of a device.
			if err := errors.Join(a.Flush(), writeDevice(w, i, inode)); err != nil {
				return err
			}
			continue
		}
		links := 1
		if i.Mode&typeMask == typeFolder {
			links = 2
		}
		err := a.WriteHeader(&cpio.Header{Name: name, Mode: cpio.FileMode(i.Mode), Size: i.Bytes, Inode: inode, Links: links})
		if err != nil {
			return err
		}
		if _, err := a.Write(i.content); err != nil {
			return err
		}
	}
	return a.Close()
}

// writeDevice writes the record of a device: magic, 13 numbers of eight hexadecimal digits, the name, padding to four bytes.
func writeDevice(w io.Writer, i item, inode int64) error {
	name := i.Name + "\x00"
	record := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s",
		inode, i.Mode, 0, 0, 1, 0, 0, 0, 0, i.major, i.minor, len(name), 0, name)
	_, err := io.WriteString(w, record+strings.Repeat("\x00", -len(record)&3))
	return err
}

// writerFunc is an io.Writer.
type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
