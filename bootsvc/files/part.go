package files

import (
	"fmt"
	"io"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/parts"
)

// FirstPart is what is sent in place of f, which n stands for: the first part of a boot image, when its head says that the card that
// asks needs no more. In all other cases, also when the head is damaged or cannot be read, it is f. The caller closes one of both.
func FirstPart(f File, n Name) (_ File, part bool) {
	if n.Kind != BootFile || n.File != bootsvc.Image || n.Card == (parts.Card{}) {
		return f, false
	}
	h, err := parts.Read(f, f.Size())
	if err != nil || !h.Drives(n.Card) {
		return f, false // a disk that fails tells it of the whole
	}
	f.Content = begin{SectionReader: io.NewSectionReader(f.Content, 0, h.First), whole: f.Content}
	return f, true
}

// begin is the begin of a file.
type begin struct {
	*io.SectionReader
	whole bootsvc.Content
}

// Close closes the file.
func (b begin) Close() error { return b.whole.Close() }

// Tag is another one than the file's, and than that of another length.
func (b begin) Tag() string { return b.whole.Tag() + fmt.Sprintf("%012x", b.Size()) }
