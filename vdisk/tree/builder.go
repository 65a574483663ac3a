package tree

import "fmt"

// Builder builds the pages of a tree from the entries of its chunks in order, without knowing how many there
// will be. It holds at most one page a level.
type Builder struct {
	emit   func(level int, index int64, page []byte) error
	levels [MaxLevels]layer
	height int
}

// layer is the page of one level that is being filled. A full page waits until its successor begins or the
// tree ends: only then is it known whether it is the top page.
type layer struct {
	entries [Fanout]Entry
	n       int
	index   int64 // of this page in its level
}

// NewBuilder makes a Builder that hands each page to emit as soon as it is complete, children before
// parents; the top page comes last. For a page of which everything below is zero, emit gets nil: it is not
// stored, except that the top page always has its bytes. The page is valid during the call only.
func NewBuilder(emit func(level int, index int64, page []byte) error) *Builder {
	return &Builder{emit: emit}
}

// Flush emits pages that have become full. Add does it by itself; who stores children directly before their
// page calls it before storing the next child.
func (b *Builder) Flush() error {
	if b.levels[0].n < Fanout {
		return nil
	}
	return b.close(0)
}

// Add appends the entry of the next chunk.
func (b *Builder) Add(e Entry) error { return b.add(0, e) }

func (b *Builder) add(i int, e Entry) error {
	if i >= len(b.levels) {
		return fmt.Errorf("a tree of more than %d levels", MaxLevels)
	}
	l := &b.levels[i]
	if l.n == Fanout {
		if err := b.close(i); err != nil {
			return err
		}
	}
	b.height = max(b.height, i+1)
	l.entries[l.n] = e
	l.n++
	return nil
}

// close emits the page that is being filled at level i+1 and enters it into its parent.
func (b *Builder) close(i int) error {
	l := &b.levels[i]
	var (
		e    Entry
		page []byte
	)
	if !allZero(l.entries[:l.n]) {
		page = AppendPage(make([]byte, 0, MaxPage), l.entries[:l.n])
		e = PageEntry(page)
	}
	if err := b.emit(i+1, l.index, page); err != nil {
		return err
	}
	l.n = 0
	l.index++
	return b.add(i+1, e)
}

// Finish emits what is left, the top page last, and returns the top page and its level. There must have been
// at least one entry.
func (b *Builder) Finish() (top []byte, level int, err error) {
	if b.height == 0 {
		return nil, 0, fmt.Errorf("a tree without chunks")
	}
	for i := 0; ; i++ {
		l := &b.levels[i]
		if i+1 >= b.height && l.index == 0 {
			top = AppendPage(make([]byte, 0, MaxPage), l.entries[:l.n])
			return top, i + 1, b.emit(i+1, 0, top)
		}
		if err := b.close(i); err != nil {
			return nil, 0, err
		}
	}
}

func allZero(e []Entry) bool {
	for i := range e {
		if e[i].Kind != Zero {
			return false
		}
	}
	return true
}
