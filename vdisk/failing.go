package vdisk

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// storeFailed reports whether an error of the system says that what a file lies on fails: a disk that is gone, a file
// system that was shut down, a server of files that does not answer or has forgotten the file.
func storeFailed(err error) bool {
	for _, no := range []syscall.Errno{syscall.EIO, syscall.ESTALE, syscall.ENXIO, syscall.ENODEV, syscall.ENOTCONN, syscall.ETIMEDOUT} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// badPlace reports whether an error of the system can mean a bad place on what works else: a sector that a disk cannot
// read any more, a block that a file system found wrong.
func badPlace(err error) bool { return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EBADMSG) }

const unreadablePrefix = "cannot be read: "

// unreadable says why the system cannot read a file or folder whose name the reader is told otherwise.
func unreadable(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return unreadablePrefix + err.Error()
}

// local reports whether a failed read is the fault of the place that was read: the rest of the file can be read. Where
// it is not, the file counts as failing from now on. The place may be readable by now, too: who asks looks again
// before it calls the place bad.
func (v *Version) local(err error) bool {
	if badPlace(err) && v.probe() == nil {
		return true
	}
	v.failed()
	return false
}

// failed remembers that the system could not read something of the file, and has it probed.
func (v *Version) failed() {
	v.failing.Store(true)
	v.noticed()
}

// noticed says that something about the version has changed.
func (v *Version) noticed() {
	if v.notice != nil {
		v.notice()
	}
}

// sound reports whether the file can be read. A file of which nothing bad is known is only touched, which finds a file
// system that was shut down and costs no access to the disk; probe has it probed.
func (v *Version) sound(probe bool) bool {
	if probe || v.failing.Load() {
		return v.probe() == nil
	}
	var b [1]byte
	_, err := v.data.ReadAt(b[:], 0)
	return err == nil
}

// probe reads the header and the seal again, past the page cache where that can be done: what lies there can be read
// when the disk is gone. When both can be read, what failed was a bad place on a disk that works.
func (v *Version) probe() error {
	v.failing.Store(false) // before the look: what fails from here on counts
	var b [blockSize]byte
	for _, at := range []int64{0, v.seal.file - slots*blockSize} {
		uncache(v.data, at, blockSize)
		if _, err := v.data.ReadAt(b[:], at); err != nil && !errors.Is(err, io.EOF) {
			v.failing.Store(true)
			return err
		}
	}
	return nil
}
