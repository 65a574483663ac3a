package vdisk

import (
	"errors"
	"fmt"
	"io"

	"github.com/spate-project/spate/vdisk/tree"
)

// checker reads pages and chunks and checks them against the tree, from the root down. One goroutine uses it.
// It goes past the version's cache of locators, because it looks at what is on the disk now.
type checker struct {
	v *Version
	// pages holds the checked entries of one page a level: those on the way to the object looked at last.
	pages [tree.MaxLevels + 1]checkedPage
	buf   [maxRecord]byte
	bytes []byte // stored bytes of the object read last
}

type checkedPage struct {
	valid   bool
	index   int64
	entries []tree.Entry
	record  record
}

// readError is an error of the system: the object may be good, it could not be read.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// page gives the checked entries and the record of page (level, index). Where the page is part of a subtree of
// zeros, entries are zero entries and places zero places. Errors are *DamagedError, for that page or one above
// it, and *readError.
func (c *checker) page(level int, index int64) (*checkedPage, error) {
	p := &c.pages[level]
	if p.valid && p.index == index {
		return p, nil
	}
	p.valid = false
	shape := c.v.seal.shape
	entry, at := tree.Entry{}, c.v.seal.top
	if level < c.v.levels {
		parent, err := c.page(level+1, index/tree.Fanout)
		if err != nil {
			return nil, err
		}
		entry, at = parent.entries[index%tree.Fanout], parent.record.children[index%tree.Fanout]
		if (entry.Kind == tree.Zero) != (at == place{}) {
			return nil, &DamagedError{level, index, "locator and tree disagree about what is zero"}
		}
		if entry.Kind == tree.Zero {
			n := shape.Entries(level, index)
			*p = checkedPage{valid: true, index: index, entries: append(p.entries[:0], make([]tree.Entry, n)...)}
			return p, nil
		}
	}
	if err := c.load(p, level, index, at); err != nil {
		return nil, err
	}
	if level < c.v.levels && !tree.Verify(entry, c.bytes) {
		return nil, &DamagedError{level, index, "has another hash than the tree says"}
	}
	if level == c.v.levels && shape.Root(c.bytes, c.v.seal.boot.digest) != c.v.seal.id.Root {
		return nil, &DamagedError{level, index, "has another hash than the root"}
	}
	entries, err := tree.ParsePage(p.entries[:0], c.bytes, shape, level, index)
	if err != nil {
		return nil, &DamagedError{level, index, err.Error()}
	}
	p.valid, p.index, p.entries = true, index, entries
	return p, nil
}

// load reads the record at the given place, and then the page, into c.bytes.
func (c *checker) load(p *checkedPage, level int, index int64, at place) error {
	if err := c.read(c.buf[:at.length], at, level, index); err != nil {
		return err
	}
	if err := p.record.parse(c.buf[:at.length], level, index, c.v.bounds); err != nil {
		return &DamagedError{level, index, err.Error()}
	}
	return c.stored(p.record.page, level, index)
}

// stored reads the bytes at a place into c.bytes.
func (c *checker) stored(at place, level int, index int64) error {
	if cap(c.bytes) < int(at.length) {
		c.bytes = make([]byte, at.length, max(int(at.length), tree.MaxPage))
	}
	c.bytes = c.bytes[:at.length]
	return c.read(c.bytes, at, level, index)
}

func (c *checker) read(b []byte, at place, level int, index int64) error {
	_, err := c.v.data.ReadAt(b, at.offset)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return &DamagedError{level, index, "the file was cut"}
	}
	return &readError{err}
}

// chunk checks the stored bytes of one chunk, leaves them in c.bytes, and gives their entry.
func (c *checker) chunk(index int64) (tree.Entry, error) {
	leaf, err := c.page(1, index/tree.Fanout)
	if err != nil {
		return tree.Entry{}, err
	}
	entry, at := leaf.entries[index%tree.Fanout], leaf.record.children[index%tree.Fanout]
	if entry.Length != at.length {
		return entry, &DamagedError{0, index, "locator and tree disagree about its length"}
	}
	if err := c.stored(at, 0, index); err != nil {
		return entry, err
	}
	if !tree.Verify(entry, c.bytes) {
		return entry, &DamagedError{0, index, "has another hash than the tree says"}
	}
	return entry, nil
}

// object checks one object.
func (c *checker) object(level int, index int64) error {
	if level == 0 {
		_, err := c.chunk(index)
		return err
	}
	_, err := c.page(level, index)
	return err
}

// learn remembers what a check of object (level, index) found, and gives what there is to say about it: a damaged
// object, the one checked or a page above it, is fenced; so is one in a bad place of a disk that works; a good one no
// longer is; one that could not be read because the file cannot be is noted.
func (v *Version) learn(level int, index int64, err error) error {
	var bad *DamagedError
	var unread *readError
	if errors.As(err, &unread) && v.local(unread.err) {
		bad = &DamagedError{level, index, unreadable(unread.err)}
		err = bad
	}
	var news bool
	switch {
	case err == nil:
		news = v.damage.clear(level, index)
	case bad != nil || errors.As(err, &bad):
		news = v.damage.note(bad.Level, bad.Index, bad.Reason, true)
	default:
		v.damage.note(level, index, unreadable(err), false)
	}
	if news {
		v.noticed()
	}
	return err
}

// Check reads an object again and verifies it against the tree, from the root down. A bad object is fenced:
// ReadAnswer refuses it from now on, Damage lists it. The error is then a *DamagedError that names it, or the
// page on the way to it that is bad itself. An object that was fenced and is good now is served again.
// An object that lies in a bad place of a disk that works is fenced, too; one of a file that cannot be read at all is
// listed and not fenced, since nothing wrong can come of it.
func (v *Version) Check(level int, index int64) error {
	if index < 0 || index >= v.seal.shape.Count(level) {
		return ErrRange
	}
	c := checker{v: v}
	err := c.object(level, index)
	if err == nil {
		// Readers go by cached locators. Whoever asked had a reason: let them be read again.
		for l := max(level, 1); l <= v.levels; l++ {
			v.cache.forget(l, index>>(fanoutShift*(l-level)))
		}
	}
	if err = v.learn(level, index, err); err != nil {
		return fmt.Errorf("check %s version %d: %w", v.seal.name, v.seal.number, err)
	}
	return nil
}
