package vdisk

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Inventory is what lies in a store. It is a copy, the caller's own.
type Inventory struct {
	Store    string    // name of the store
	Dir      string    // its folder
	Serial   uint64    // grows with each change
	Problem  string    // why the folder cannot be read; then there is nothing else
	Replicas []Replica // by name and number
	Bad      []BadFile // by file name
	Images   []Image   // by file name
}

// Replica is one usable version in a store.
type Replica struct {
	Info
	File   string   // name of the file in the folder
	Damage []Damage // what is known to be wrong with it
}

// Facts gives what tells this replica from others.
func (r *Replica) Facts() Facts {
	return Facts{r.Name, r.Number, r.ID, r.Logical}
}

// BadFile is a file that should be a version and cannot be used.
type BadFile struct {
	File   string
	Reason string
	Advice string // what to do about it
}

// Image is a disk image in a store that was not imported.
type Image struct {
	File   string
	Format Format
	Size   int64 // of the file in bytes
}

// Hint is the command that imports the image into its store.
func (i *Image) Hint(dir string) string {
	return fmt.Sprintf("spate vdisk import %s --into %s", quote(filepath.Join(dir, i.File)), quote(dir))
}

// quote quotes a path for a shell where it needs that.
func quote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@,=") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// imageExtensions are those of files that are looked at as disk images; anything else in a store is let be.
var imageExtensions = []string{".img", ".raw", ".dd", ".iso", ".qcow2", ".vhd", ".vhdx", ".vmdk", ".vdi"}

// item is one file of a store, as the last scan found it.
type item struct {
	mark    mark
	version *Version // when it is a usable version; the store is one of its users
	bad     string   // when it should be one
	advice  string   // what to do about that
	again   bool     // what is wrong may pass without the file changing
	failed  error    // why what the file lies on could not be read
	image   *Image   // when it is something that could be imported
}

// examine finds out what a file is. It gives nil for a file that is of no interest.
func examine(dir, name string, m mark, open func(string) (*Version, error)) *item {
	path := filepath.Join(dir, name)
	it := &item{mark: m}
	if strings.HasSuffix(name, Extension) {
		v, err := open(path)
		if err == nil {
			if want := FileName(v.Name(), v.Number()); want != name {
				v.Close()
				it.bad = fmt.Sprintf("holds %s version %d; it must be named %s", v.Name(), v.Number(), want)
				it.advice = adviceRename
				return it
			}
			it.version = v
			return it
		}
		var needs *NeedsVersionError
		known := errors.Is(err, ErrNotVDisk) || errors.Is(err, ErrIncomplete) || errors.Is(err, ErrDamaged) ||
			errors.Is(err, ErrNewer) || errors.As(err, &needs)
		it.advice = Advice(err)
		if it.bad = strings.TrimPrefix(err.Error(), "open "+path+": "); known {
			return it
		}
		it.bad, it.again = unreadable(err), true
		if storeFailed(err) {
			it.failed = err
		}
		return it
	}
	if !slices.Contains(imageExtensions, strings.ToLower(filepath.Ext(name))) || m.size == 0 {
		return nil
	}
	format, err := probe(path, m.size)
	if err != nil {
		return &item{mark: m} // nothing that could be imported as it is
	}
	it.image = &Image{File: name, Format: format, Size: m.size}
	return it
}

// probe tells the format of an image file.
func probe(path string, size int64) (Format, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head, tail := make([]byte, min(probeHead, size)), make([]byte, min(footerSize, size))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return detect(head, tail, size)
}

// list makes the inventory of items.
func list(items map[string]*item) Inventory {
	var inv Inventory
	for name, it := range items {
		switch {
		case it.version != nil:
			inv.Replicas = append(inv.Replicas, Replica{Info: it.version.Info(), File: name, Damage: it.version.Damage()})
		case it.bad != "":
			inv.Bad = append(inv.Bad, BadFile{name, it.bad, it.advice})
		case it.image != nil:
			inv.Images = append(inv.Images, *it.image)
		}
	}
	slices.SortFunc(inv.Replicas, func(a, b Replica) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number))
	})
	slices.SortFunc(inv.Bad, func(a, b BadFile) int { return strings.Compare(a.File, b.File) })
	slices.SortFunc(inv.Images, func(a, b Image) int { return strings.Compare(a.File, b.File) })
	return inv
}

// List tells what lies in a folder now.
func List(dir string) (Inventory, error) {
	s := NewStore("", dir, StoreOptions{})
	defer s.Close()
	s.Scan()
	inv := s.Inventory()
	if inv.Problem != "" {
		return inv, fmt.Errorf("store %s: %s", dir, inv.Problem)
	}
	return inv, nil
}
