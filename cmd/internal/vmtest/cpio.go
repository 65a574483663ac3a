package vmtest

import (
	"bytes"
	"compress/gzip"
	"fmt"
)

// archive is an initramfs in the kernel's format (Documentation/driver-api/early-userspace/buffer-format): "newc".
type archive struct {
	bytes bytes.Buffer
	count int
}

const (
	modeFile   = 0o100000
	modeFolder = 0o040000
)

func (a *archive) add(name string, mode int, content []byte) {
	a.count++
	fmt.Fprintf(&a.bytes, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.count, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	a.pad()
	a.bytes.Write(content)
	a.pad()
}

func (a *archive) pad() { a.bytes.Write(make([]byte, -a.bytes.Len()&3)) }

// finish gives the compressed archive.
func (a *archive) finish() ([]byte, error) {
	a.add("TRAILER!!!", 0, nil)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(a.bytes.Bytes()); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
