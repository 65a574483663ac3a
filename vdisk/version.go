package vdisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
)

// backing is what a sealed file is read through.
type backing interface {
	io.ReaderAt
	io.Closer
}

// Version is an open replica of one version. It keeps its file open, so it can be read after the file was
// removed or replaced, until its last user closes it. All methods are safe for concurrent use.
type Version struct {
	path    string
	data    backing
	seal    seal
	sealErr [slots + 1]error // what is wrong with slot 0, slot 1, and the header
	levels  int
	bounds  bounds
	cache   *cache
	damage  damage
	boot    boot
	users   atomic.Int64
	failing atomic.Bool // the system could not read something, and the file was not probed since
	notice  func()      // called when Damage has changed or failing was set; nil, or set before the version is shared
}

// Open opens the replica in the file at path, whatever the file is called. It checks the header and the seal;
// everything else is checked when it is used. One of the header and the two seal slots may be damaged and is
// then listed by Damage, as may be the header and one slot.
func Open(path string) (*Version, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: is not a file: %w", path, ErrNotVDisk)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return openBacking(path, quickened(f), st.Size())
}

// openBacking opens a replica of size bytes. It owns data, also after an error.
func openBacking(path string, data backing, size int64) (*Version, error) {
	v := &Version{path: path, data: data}
	if err := v.readSeal(size); err != nil {
		data.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	v.levels = v.seal.shape.Levels()
	v.bounds = bounds{shape: v.seal.shape, end: v.seal.end()}
	v.cache = newCache(v.seal.shape)
	v.users.Store(1)
	if err := v.readBoot(); err != nil {
		data.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return v, nil
}

// readSeal reads the header and both slots, and takes what they say together.
func (v *Version) readSeal(size int64) error {
	var head [blockSize]byte
	n, err := v.data.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	header, herr := parseHeader(head[:n])
	if size < minFile || size%blockSize != 0 {
		return sealMissing(herr, fmt.Sprintf("a file of %d bytes cannot be a whole one", size))
	}
	var tail [slots * blockSize]byte
	if _, err := v.data.ReadAt(tail[:], size-int64(len(tail))); err != nil {
		return err
	}
	var pair [slots]*seal
	for i := range pair {
		pair[i], v.sealErr[i] = parseSeal(tail[i*blockSize:][:blockSize], size)
	}
	v.sealErr[slots] = herr
	s, _ := newer(pair)
	if s == nil {
		for _, e := range v.sealErr {
			if errors.Is(e, ErrNewer) {
				return e
			}
		}
		return sealMissing(herr, fmt.Sprintf("seal: %v; %v", v.sealErr[0], v.sealErr[1]))
	}
	if header != nil && !header.equal(&s.description) || pair[0] != nil && pair[1] != nil &&
		(!pair[0].equal(&pair[1].description) || pair[0].id.Root != pair[1].id.Root || pair[0].logical != pair[1].logical ||
			pair[0].top != pair[1].top || pair[0].boot != pair[1].boot) {
		return fmt.Errorf("header and seal contradict one another: %w", ErrDamaged)
	}
	v.seal = *s
	if s.parent != nil {
		return &NeedsVersionError{Name: s.name, Number: s.number, Parent: *s.parent}
	}
	return nil
}

// sealMissing says what a file without a seal is, going by what became of its header.
func sealMissing(header error, why string) error {
	if errors.Is(header, ErrNotVDisk) || errors.Is(header, ErrNewer) {
		return header
	}
	return fmt.Errorf("%w, it was cut or is still being copied: %s", ErrIncomplete, why)
}

// Shape gives the sizes of the disk.
func (v *Version) Shape() tree.Shape { return v.seal.shape }

// ID gives the identity of this replica.
func (v *Version) ID() ID { return v.seal.id }

// Name gives the name of the vDisk.
func (v *Version) Name() string { return v.seal.name }

// Number gives the number of the version.
func (v *Version) Number() uint32 { return v.seal.number }

// Path is where the file was opened.
func (v *Version) Path() string { return v.path }

// Info is what a replica says about itself.
type Info struct {
	Summary
	Parent  *Parent
	Program string    // that wrote the file
	Who     string    // who sealed or last adopted it
	When    time.Time // it was sealed or last adopted
}

// Info tells what the header and the seal say.
func (v *Version) Info() Info {
	s := summarize(v.path, &v.seal)
	s.Boot = v.Boot()
	return Info{
		Summary: *s, Parent: v.seal.parent, Program: v.seal.program,
		Who: v.seal.who, When: time.Unix(0, v.seal.written),
	}
}

// retain adds a user and reports whether the file is still open.
func (v *Version) retain() bool {
	for {
		n := v.users.Load()
		if n == 0 {
			return false
		}
		if v.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Close ends one use. The last one closes the file; nobody may read then, or begin to.
func (v *Version) Close() error {
	switch n := v.users.Add(-1); {
	case n > 0:
		return nil
	case n < 0:
		panic("vdisk: Version closed more often than opened")
	}
	return v.data.Close()
}
