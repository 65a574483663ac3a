package vdisk

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spate-project/spate/vdisk/tree"
)

// scratch is what one lookup needs besides the caller's memory.
type scratch struct {
	record record
	buf    [maxRecord]byte
	quick  bool // nothing may be waited for
}

// errWouldWait means that bytes are not in memory.
var errWouldWait = errors.New("bytes are not in memory")

// quickReader is a backing that can tell whether bytes are in memory.
type quickReader interface {
	// tryReadAt fills p from off if that needs no waiting. False says nothing about why.
	tryReadAt(p []byte, off int64) bool
}

// readAt fills p from off.
func (s *scratch) readAt(data backing, p []byte, off int64) error {
	if !s.quick {
		_, err := data.ReadAt(p, off)
		return err
	}
	if q, ok := data.(quickReader); ok && q.tryReadAt(p, off) {
		return nil
	}
	return errWouldWait
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// run is a part of an answer that lies in one piece in the file.
type run struct {
	at, file    int64 // offsets in the caller's buffer and in the file
	length      int64
	first, last int64 // indices of the objects at its ends
}

// ReadAnswer reads bytes [from, from+len(p)) of the concatenation of the stored bytes of the objects
// level/first to level/first+count-1 into p, fewer at its end, and tells how many it read and how long the
// whole concatenation is. Zero objects contribute nothing. What lies together in the file is read at once.
//
// It gives *DamagedError when one of these objects is fenced, cannot be located, is cut off, or lies in a bad place of
// a disk that works; ErrRange when there are no such objects; and wraps errors of the system such as ESTALE, and EIO
// of a disk that is gone, after which it may well work again. It does not check the bytes: the reader does, against
// the tree. It does not allocate in steady state.
func (v *Version) ReadAnswer(p []byte, level int, first int64, count int, from int64) (n int, total int64, err error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.quick = false
	return v.answer(s, p, level, first, count, from)
}

// TryReadAnswer is ReadAnswer for who must not wait: it reads only what the system has in memory. When it is
// false, for whatever reason, nothing is known and ReadAnswer will tell.
func (v *Version) TryReadAnswer(p []byte, level int, first int64, count int, from int64) (n int, total int64, ok bool) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.quick = true
	n, total, err := v.answer(s, p, level, first, count, from)
	return n, total, err == nil
}

// answer reads a part of an answer; see ReadAnswer.
func (v *Version) answer(s *scratch, p []byte, level int, first int64, count int, from int64) (n int, total int64, err error) {
	if level < 0 || level > v.levels || first < 0 || count < 1 || from < 0 ||
		first > v.seal.shape.Count(level)-int64(count) {
		return 0, 0, ErrRange
	}
	if err := v.damage.refuse(level, first, count); err != nil {
		return 0, 0, err
	}
	var r run
	loaded := int64(-1)
	for i := first; i < first+int64(count); i++ {
		page := i // the page whose record has the object's place
		if level == 0 {
			page = i / tree.Fanout
		}
		if page != loaded {
			if err := v.find(s, level, page); err != nil {
				return 0, 0, v.unlocated(err, level, i)
			}
			loaded = page
		}
		at := s.record.page
		if level == 0 {
			at = s.record.children[i%tree.Fanout]
		}
		// The part of the object that is asked for begins skip bytes into it and ends before its end or p's.
		skip := max(0, from-total)
		length := min(int64(at.length), from+int64(len(p))-total) - skip
		begin := total
		total += int64(at.length)
		if length <= 0 {
			continue
		}
		if r.length > 0 && r.file+r.length == at.offset+skip {
			r.length += length
			r.last = i
			continue
		}
		if err := v.read(s, p, r, level); err != nil {
			return 0, 0, err
		}
		r = run{at: begin + skip - from, file: at.offset + skip, length: length, first: i, last: i}
	}
	if err := v.read(s, p, r, level); err != nil {
		return 0, 0, err
	}
	return int(r.at + r.length), total, nil
}

// read reads one run into p. When the file ends too early, the run's last object is surely among the lost.
func (v *Version) read(s *scratch, p []byte, r run, level int) error {
	if r.length == 0 {
		return nil
	}
	err := s.readAt(v.data, p[r.at:r.at+r.length], r.file)
	if err == nil || s.quick {
		return err
	}
	if errors.Is(err, io.EOF) {
		return v.fence(&DamagedError{level, r.last, "the file was cut"})
	}
	if v.local(err) {
		return v.pieces(p, r, level)
	}
	return v.unread(err)
}

// pieces reads a run that could not be read at once, object by object, and fences the one that is to blame. That none
// is, and p is filled, happens where the disk was away for a moment.
func (v *Version) pieces(p []byte, r run, level int) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.quick = false
	for i := r.first; i <= r.last; i++ {
		page := i
		if level == 0 {
			page = i / tree.Fanout
		}
		if err := v.find(s, level, page); err != nil {
			return v.unlocated(err, level, i)
		}
		at := s.record.page
		if level == 0 {
			at = s.record.children[i%tree.Fanout]
		}
		from, to := max(at.offset, r.file), min(at.offset+int64(at.length), r.file+r.length)
		if from >= to {
			continue
		}
		_, err := v.data.ReadAt(p[r.at+from-r.file:r.at+to-r.file], from)
		switch {
		case err == nil:
		case badPlace(err):
			return v.fence(&DamagedError{level, i, unreadable(err)})
		default:
			v.failed()
			return v.unread(err)
		}
	}
	return nil
}

// unread adds the version to an error of the system.
func (v *Version) unread(err error) error {
	return fmt.Errorf("read %s version %d: %w", v.seal.name, v.seal.number, err)
}

// fence remembers an object that was found bad by reading it.
func (v *Version) fence(bad *DamagedError) error {
	if v.damage.note(bad.Level, bad.Index, bad.Reason, true) {
		v.noticed()
	}
	return bad
}

// unlocated turns an error of locate into one about the object that was wanted.
func (v *Version) unlocated(err error, level int, index int64) error {
	var bad *locatorError
	switch {
	case errors.Is(err, errWouldWait):
		return err
	case errors.As(err, &bad):
		return v.fence(&DamagedError{level, index, bad.Error()})
	}
	v.failed()
	return v.unread(err)
}

// find puts the record that has the place of an object of that level into s.record: locate that looks twice at a
// place that the disk cannot read, and calls it bad then.
func (v *Version) find(s *scratch, level int, page int64) error {
	err := v.locate(s, max(level, 1), page)
	if err == nil || !badPlace(err) || !v.local(err) {
		return err
	}
	if err = v.locate(s, max(level, 1), page); badPlace(err) {
		return &locatorError{max(level, 1), page, errors.New(unreadable(err))}
	}
	return err
}

// locatorError means that the record of a page does not check.
type locatorError struct {
	level int
	index int64
	why   error
}

func (e *locatorError) Error() string {
	return fmt.Sprintf("locator of %s: %v", object(e.level, e.index), e.why)
}

// locate puts the record of page (level, index) into s.record; a record of zero places where the page is
// part of a subtree of zeros. It reads and keeps what is missing on the way down from the top.
func (v *Version) locate(s *scratch, level int, index int64) error {
	if v.cache.get(&s.record, level, index) {
		return nil
	}
	// Up to the nearest record that is known, then down again.
	at, from := place{}, level
	for from < v.levels {
		from++
		shift := fanoutShift * (from - level)
		if v.cache.get(&s.record, from, index>>shift) {
			at = s.record.children[index>>(shift-fanoutShift)%tree.Fanout]
			from--
			break
		}
	}
	if from == v.levels {
		at = v.seal.top
	}
	for ; ; from-- {
		here := index >> (fanoutShift * (from - level))
		if at == (place{}) {
			s.record = record{level: level, index: index, n: v.seal.shape.Entries(level, index)}
			return nil
		}
		if err := v.load(s, at, from, here); err != nil {
			return err
		}
		if from == level {
			return nil
		}
		at = s.record.children[index>>(fanoutShift*(from-level-1))%tree.Fanout]
	}
}

// fanoutShift is the number of bits of an index that one level takes.
const fanoutShift = 6

// load reads the record of page (level, index) from at and keeps it.
func (v *Version) load(s *scratch, at place, level int, index int64) error {
	buf := s.buf[:at.length]
	if err := s.readAt(v.data, buf, at.offset); err != nil {
		if errors.Is(err, io.EOF) {
			return &locatorError{level, index, errors.New("the file was cut")}
		}
		return err
	}
	if err := s.record.parse(buf, level, index, v.bounds); err != nil {
		return &locatorError{level, index, err}
	}
	v.cache.put(&s.record)
	return nil
}
