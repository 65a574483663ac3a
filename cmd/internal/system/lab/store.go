package lab

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/spate-project/spate/cmd/internal/testdisk"
	"github.com/spate-project/spate/vdisk"
)

// MakeStore imports the disk of package testdisk, size bytes long, as a vDisk of that name into the folder dir.
func MakeStore(ctx context.Context, dir, name string, size int64) (file string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	_, err = vdisk.Import(ctx, vdisk.ImportOptions{
		Source: "-", Input: testdisk.Reader(size), Into: dir, Name: name, Codec: vdisk.DefaultCodec, Who: "lab", Program: "lab",
	})
	return filepath.Join(dir, vdisk.FileName(name, 0)), err
}

// CopyTo makes an identical replica in the folder dir: a copy of the file is one.
func CopyTo(dir, file string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := filepath.Join(dir, "."+filepath.Base(file)+".copy") // a store looks at no name that begins so
	out, err := os.Create(temp)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, filepath.Base(file)))
}
