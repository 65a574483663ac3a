package keyfile

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Size of every key, in bytes.
const Size = 32

// Mode of the files.
const Mode fs.FileMode = 0o600

// maxFile bounds what is read of a file that may be anything.
const maxFile = 4096

// Read reads a key. The error says what is wrong with the file and what to do.
func Read(path string) (key [Size]byte, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return key, fmt.Errorf("key file %s is not there; copy it from where it is kept, or name the right one: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return key, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return key, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return key, fmt.Errorf("key file %s can be read by others than its owner (mode %04o); run: chmod 600 %s", path, st.Mode().Perm(), path)
	}
	b := make([]byte, maxFile)
	n, err := f.Read(b)
	if err != nil && n == 0 {
		return key, fmt.Errorf("key file %s is empty; make one with: spate keygen > %s", path, path)
	}
	return Parse(path, b[:n])
}

// Parse reads the contents of a key file; path is for the error.
func Parse(path string, b []byte) (key [Size]byte, err error) {
	b = bytes.TrimSpace(b)
	got, err := base64.RawURLEncoding.Strict().DecodeString(string(b))
	if err != nil || len(got) != Size {
		return key, fmt.Errorf("key file %s does not hold a key: 43 letters, digits, '-' and '_' are expected; make one with: spate keygen > %s", path, path)
	}
	copy(key[:], got)
	return key, nil
}

// Text is the line that a key file holds.
func Text(key [Size]byte) string { return base64.RawURLEncoding.EncodeToString(key[:]) }

// Generate draws a key.
func Generate() (key [Size]byte) {
	rand.Read(key[:]) // never fails: it ends the program instead
	return key
}

// ReadOrCreate reads a key, or draws one and writes it when there is no file.
// Two programs that do it at once end up with the same key.
func ReadOrCreate(path string) (key [Size]byte, created bool, err error) {
	key, err = Read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	key = Generate()
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return key, false, err
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.WriteString(Text(key) + "\n"); err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return key, false, fmt.Errorf("write key file %s: %w", path, err)
	}
	// A link does not replace what another program has put there meanwhile.
	if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		key, err = Read(path)
		return key, false, err
	}
	return key, err == nil, err
}
