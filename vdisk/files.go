package vdisk

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// files is every operation by which a writer changes a store. Tests stop it after any one of them.
type files interface {
	// create makes a temporary file, locked as long as it is open.
	create(dir, name string) (file, error)
	// publish gives f its final name in the same folder and replaces nothing (ErrExists).
	publish(f file, name string) error
	// syncDir makes names in a folder durable.
	syncDir(dir string) error
	remove(path string) error
	// open opens a sealed file to write its seal.
	open(path string) (file, error)
}

// file is one file that is being written.
type file interface {
	io.Writer
	io.WriterAt
	io.ReaderAt
	Sync() error
	Close() error
	Name() string
}

// Temporary files are named .NAME.NUMBER.spate.RANDOM.part.
const (
	tempPrefix = "."
	tempSuffix = ".part"
)

// tempName makes a name for the temporary file of name.
func tempName(name string) string {
	var r [6]byte
	rand.Read(r[:])
	return tempPrefix + name + "." + hex.EncodeToString(r[:]) + tempSuffix
}

// isTemp reports whether a file of that name can be one of ours.
func isTemp(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix) &&
		strings.Contains(name, Extension+".")
}

// system is files on the machine.
type system struct{}

func (system) create(dir, name string) (file, error) {
	for range 100 {
		path := filepath.Join(dir, tempName(name))
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Between its creation and the lock, another import may take the file for a left-over and remove it.
		// Where there are no locks at all, left-overs stay for the administrator.
		if locked, err := lockFile(f); (locked || err != nil) && linked(f) {
			return f, nil
		}
		f.Close()
		os.Remove(path)
	}
	return nil, fmt.Errorf("create a temporary file in %s: every name is taken", dir)
}

func (system) publish(f file, name string) error {
	final := filepath.Join(filepath.Dir(f.Name()), name)
	err := renameNoReplace(f.Name(), final)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", final, ErrExists)
	}
	return err
}

func (system) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (system) remove(path string) error { return os.Remove(path) }

func (system) open(path string) (file, error) { return os.OpenFile(path, os.O_RDWR, 0) }

// removeLeftovers removes temporary files of writers that no longer live, and tells how many it removed. What
// cannot be looked at or removed is left for the next time: it does no harm but take space.
func removeLeftovers(dir string) int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	removed := 0
	for _, e := range entries {
		if !isTemp(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		// For writing, because NFS wants that for an exclusive lock.
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if locked, err := lockFile(f); err == nil && locked && linked(f) && os.Remove(path) == nil {
			removed++
		}
		f.Close()
	}
	return removed
}
