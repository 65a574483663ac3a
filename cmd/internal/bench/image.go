package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/spate-project/spate/vdisk"
)

// image is a raw disk image that all contenders serve.
type image struct {
	name, path string
	size       int64 // bytes
	nonZero    int64 // bytes of chunks that are not all zero
	stored     int64 // bytes of the chunks as Spate stores them; known once imported
}

const (
	realBytes   = 1200 << 20 // of files in the image "real"
	randomBytes = 1 << 30
	sparseBytes = 1 << 30
	zeroShare   = 0.1 // of an image "real" that may be zero: more would flatter whoever skips zeros
	maxOneFile  = 128 << 20
	seed        = 20260101
)

// images makes what is missing, which takes about half a minute, and measures what is there.
func (b *bench) image(ctx context.Context, name string) (*image, error) {
	i := &image{name: name, path: filepath.Join(b.dir, name+".raw")}
	if !present(i.path) {
		fmt.Printf("making image %s\n", name)
		tmp := i.path + ".part"
		make := map[string]func(context.Context, string) error{"real": b.makeReal, "random": makeRandom, "sparse": b.makeSparse}[name]
		if err := make(ctx, tmp); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
		if err := os.Rename(tmp, i.path); err != nil {
			return nil, err
		}
	}
	if err := i.measure(); err != nil {
		return nil, err
	}
	zero := 1 - float64(i.nonZero)/float64(i.size)
	if name == "real" && zero > zeroShare {
		return nil, fmt.Errorf("%.0f %% of image real is zero, at most %.0f %% may be; remove %s and run again", 100*zero, 100*zeroShare, i.path)
	}
	fmt.Printf("image %-7s %.2f GiB, %.0f %% of its chunks zero\n", name, float64(i.size)/(1<<30), 100*zero)
	return i, nil
}

func (i *image) measure() error {
	f, err := os.Open(i.path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf, zeros := make([]byte, vdisk.DefaultChunkSize), make([]byte, vdisk.DefaultChunkSize)
	i.size, i.nonZero = 0, 0
	for {
		n, err := io.ReadFull(f, buf)
		i.size += int64(n)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			i.nonZero += int64(n)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// makeReal makes a file system of this machine's programs, libraries and sources.
func (b *bench) makeReal(ctx context.Context, path string) error {
	staging := filepath.Join(b.dir, "staging")
	if err := os.RemoveAll(staging); err != nil {
		return err
	}
	defer os.RemoveAll(staging)
	out, err := command(ctx, "", "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	goroot := strings.TrimSpace(out)
	var bytes, files int64
	roots := []string{filepath.Join(goroot, "src"), filepath.Join(goroot, "bin"), "/usr/bin", "/usr/lib", "/usr/share", "/usr/sbin", goroot}
	for n, root := range roots {
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case bytes >= realBytes:
				return fs.SkipAll
			case !d.Type().IsRegular():
				return nil
			}
			info, err := d.Info()
			if err != nil || info.Size() > maxOneFile || info.Size() == 0 {
				return err
			}
			to := filepath.Join(staging, fmt.Sprint(n), p[len(root):])
			if err := copyFile(to, p); err != nil {
				return err
			}
			bytes += (info.Size() + 4095) &^ 4095
			files++
			return nil
		})
		if err != nil {
			return err
		}
	}
	// Room for inodes and for what the file system needs, then a little more until everything fits.
	size := bytes + files*512
	for ; size < 2*realBytes; size += size / 100 {
		_ = os.Remove(path) // of a try that was too small
		_, err := command(ctx, "", "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-m", "0", "-b", "4096",
			"-N", fmt.Sprint(files*5/4+1000), "-d", staging, path, fmt.Sprintf("%dk", size/1024))
		if err == nil {
			return nil
		}
	}
	return errors.New("the files do not fit into a file system of twice their size")
}

func copyFile(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil // the same file system
	}
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// makeRandom makes an image that nothing can compress, the same each time.
func makeRandom(_ context.Context, path string) error {
	var key [32]byte
	key[0] = 1
	return fill(path, rand.NewChaCha8(key), randomBytes)
}

func fill(path string, from io.Reader, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, from, size)
	return errors.Join(err, f.Close())
}

// makeSparse makes an image of which every second MiB is a hole, the others taken from "real".
func (b *bench) makeSparse(ctx context.Context, path string) error {
	source, err := b.image(ctx, "real")
	if err != nil {
		return err
	}
	in, err := os.Open(source.path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < sparseBytes && err == nil; off += 2 << 20 {
		if _, err = in.ReadAt(buf, off); err == nil {
			_, err = out.WriteAt(buf, off)
		}
	}
	return errors.Join(err, out.Truncate(sparseBytes), out.Close())
}
