package vdisk

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/spate-project/spate/vdisk/tree"
)

// assembler lays out the groups of a sealed file: it takes entries and stored bytes of chunks in order and
// writes chunks, pages and locator records front to back. One goroutine uses it.
type assembler struct {
	out     io.Writer
	offset  int64        // of what is written next
	written atomic.Int64 // offset again, for others to look at
	builder *tree.Builder
	// children holds, for each level, where the children of the page that is being filled lie; at most one
	// more, the first child of its successor.
	children [tree.MaxLevels + 1][]place
	buf      []byte // one record
	top      place  // of the record written last

	stored, chunks, zeros, raws int64
}

func newAssembler(out io.Writer) *assembler {
	a := &assembler{out: out, offset: dataStart}
	a.builder = tree.NewBuilder(a.page)
	return a
}

// chunk appends one chunk; stored are the bytes that e describes.
func (a *assembler) chunk(e tree.Entry, stored []byte) error {
	// The page of a full group comes before the chunks of the next one.
	if err := a.builder.Flush(); err != nil {
		return err
	}
	var at place
	a.chunks++
	if e.Kind == tree.Zero {
		a.zeros++
	} else {
		var err error
		if at, err = a.write(stored); err != nil {
			return err
		}
		a.stored += int64(len(stored))
	}
	if e.Kind == tree.Raw {
		a.raws++
	}
	a.children[0] = append(a.children[0], at)
	return a.builder.Add(e)
}

// page is called by the builder for each page of the tree, nil for one that is all zero.
func (a *assembler) page(level int, index int64, page []byte) error {
	below := a.children[level-1]
	n := min(len(below), tree.Fanout)
	var at place
	if page != nil {
		if n != len(page)/tree.EntrySize {
			return fmt.Errorf("page %d of level %d has %d entries and %d places", index, level, len(page)/tree.EntrySize, n)
		}
		own, err := a.write(page)
		if err != nil {
			return err
		}
		a.buf = appendRecord(a.buf[:0], level, index, own, below[:n])
		if at, err = a.write(a.buf); err != nil {
			return err
		}
		a.top = at
	}
	a.children[level-1] = below[:copy(below, below[n:])]
	a.children[level] = append(a.children[level], at)
	return nil
}

func (a *assembler) write(b []byte) (place, error) {
	at := place{offset: a.offset, length: uint32(len(b))}
	n, err := a.out.Write(b)
	a.offset += int64(n)
	a.written.Store(a.offset)
	return at, err
}

// finish writes what is left of the tree and zeros up to the next block, and gives the top page.
func (a *assembler) finish() ([]byte, error) {
	top, _, err := a.builder.Finish()
	if err != nil {
		return nil, err
	}
	return top, a.pad()
}

// pad writes zeros up to the next block.
func (a *assembler) pad() (err error) {
	if rest := a.offset % blockSize; rest != 0 {
		_, err = a.write(make([]byte, blockSize-rest))
	}
	return err
}
