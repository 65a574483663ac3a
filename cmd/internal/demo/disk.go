package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/remote"
	"github.com/spate-project/spate/vdisk"
)

const (
	vdiskName = "demo"
	diskSize  = 256 << 20
	blockSize = 4096
)

// fill makes the block of that number: of eight stretches of 64 KiB one is
// zero, some compress well, the others do not compress at all. Each block differs from every other.
func fill(b []byte, number int64) {
	x := uint64(number)*0x9e3779b97f4a7c15 + 1
	for i := 0; i < len(b); i += 8 {
		switch kind := number / 16 % 8; {
		case kind == 0:
			x = 0
		case kind < 5 && i%64 != 0: // seven of eight words repeat
		default:
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		binary.LittleEndian.PutUint64(b[i:], x)
	}
}

// diskReader reads the disk as it should be.
type diskReader struct {
	block [blockSize]byte
	at    int64
}

func (r *diskReader) Read(p []byte) (int, error) {
	if r.at >= diskSize {
		return 0, io.EOF
	}
	off := int(r.at % blockSize)
	if off == 0 {
		fill(r.block[:], r.at/blockSize)
	}
	n := copy(p, r.block[off:])
	r.at += int64(n)
	return n, nil
}

// makeStores makes the vDisk in one store and copies it to the others: copies
// are identical replicas. What was made before is used again.
func makeStores(ctx context.Context, dirs ...string) error {
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	name := vdisk.FileName(vdiskName, 0)
	first := filepath.Join(dirs[0], name)
	if _, err := os.Stat(first); err != nil {
		fmt.Printf("making a vDisk of %d MB …\n", diskSize>>20)
		r, err := vdisk.Import(ctx, vdisk.ImportOptions{
			Source: "-", Input: &diskReader{}, Into: dirs[0], Name: vdiskName, Codec: vdisk.DefaultCodec, Who: "demo", Program: "demo",
		})
		if err != nil {
			return err
		}
		fmt.Println(r)
	}
	for _, d := range dirs[1:] {
		if err := copyFile(first, filepath.Join(d, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to + ".part")
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(to+".part", to)
}

// checked counts what was read and compared.
type checked struct {
	bytes, wrong, failed atomic.Int64
}

// retryRead: a read that failed is tried again after so long.
const retryRead = 200 * time.Millisecond

// readForEver reads the vDisk from end to end, again and again, and compares
// each byte with what it must be.
func readForEver(ctx context.Context, a *agent.Attachment, c *checked) error {
	want := make([]byte, blockSize)
	zero := make([]byte, blockSize)
	compare := func(b []byte, off int64) {
		for len(b) > 0 {
			n := min(len(b), blockSize-int(off%blockSize))
			fill(want, off/blockSize)
			if !bytes.Equal(b[:n], want[off%blockSize:][:n]) {
				c.wrong.Add(1)
			}
			b, off = b[n:], off+int64(n)
			c.bytes.Add(int64(n))
		}
	}
	sink := remote.Sink{
		Data: func(b []byte, off int64) error { compare(b, off); return nil },
		Hole: func(off, n int64) error {
			for ; n > 0; n, off = n-blockSize, off+blockSize {
				compare(zero[:min(n, blockSize)], off)
			}
			return nil
		},
	}
	for {
		err := a.Disk.Stream(ctx, 0, a.Disk.Size(), sink)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.failed.Add(1)
			a.Failed(err)
			select {
			case <-time.After(retryRead):
			case <-ctx.Done():
			}
		}
	}
}
