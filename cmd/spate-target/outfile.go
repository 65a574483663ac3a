package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// outFile is a file that appears under its name whole or not at all. Until then it is called .NAME.spate-part and
// locked: what a read that was killed has left behind is taken over by the next, what one that lives writes is not.
type outFile struct {
	*bufio.Writer
	file *os.File
	name string
}

// newOutFile begins the file of that name.
func newOutFile(name string) (*outFile, error) {
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("--out %s: is there and is no file; name a file (onto a device, attach the vDisk and copy it with nbdcopy)", name)
	}
	part := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".spate-part")
	for {
		f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, fmt.Errorf("--out: %w", err)
		}
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			f.Close()
			return nil, fmt.Errorf("--out %s: another spate-target read writes it now; wait for its end, or name another file", name)
		case err != nil:
			f.Close()
			return nil, fmt.Errorf("--out %s: the file system has no locks (%w); name a file on another one", name, err)
		}
		// Between its opening and the lock the other read may have ended, and given the file its name.
		mine, err := f.Stat()
		now, gone := os.Lstat(part)
		if err == nil && (gone != nil || !os.SameFile(mine, now)) {
			f.Close()
			continue
		}
		if err == nil {
			err = f.Truncate(0)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("--out: %w", err)
		}
		return &outFile{Writer: bufio.NewWriterSize(f, 1<<20), file: f, name: name}, nil
	}
}

// skip leaves n bytes out, which are zero then.
func (o *outFile) skip(n int64) error {
	if err := o.Flush(); err != nil {
		return err
	}
	_, err := o.file.Seek(n, io.SeekCurrent)
	return err
}

// finish gives the file its name, with size bytes.
func (o *outFile) finish(size int64) error {
	if err := o.Flush(); err != nil {
		return err
	}
	if err := o.file.Truncate(size); err != nil {
		return err
	}
	if err := o.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(o.file.Name(), o.name); err != nil {
		return err
	}
	err := o.file.Close()
	o.file = nil
	return err
}

// abandon removes what was not finished.
func (o *outFile) abandon() {
	if o.file != nil {
		os.Remove(o.file.Name()) // while it is locked
		o.file.Close()
	}
}
