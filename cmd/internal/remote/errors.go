package remote

import (
	"fmt"

	"github.com/spate-project/spate/stream/engine"
)

// ReadError says which object of which vDisk could not be read. Err is why: engine.ErrNoGoodCopy, engine.ErrNoServer,
// engine.ErrClosed, or that the tree itself is wrong.
type ReadError struct {
	Disk    string
	Version uint32
	Level   uint8 // 0: a chunk, else an index page
	Index   int64
	Servers []engine.ServerID // who supplied bytes that did not verify
	Err     error
}

// Error names vDisk, version, object and reason.
func (e *ReadError) Error() string {
	what := fmt.Sprintf("chunk %d", e.Index)
	if e.Level > 0 {
		what = fmt.Sprintf("index page %d of level %d", e.Index, e.Level)
	}
	return fmt.Sprintf("read %s of %q version %d: %v", what, e.Disk, e.Version, e.Err)
}

// Unwrap gives the reason.
func (e *ReadError) Unwrap() error { return e.Err }

// failure is why a fetch ended; it becomes a ReadError of whoever waited for it.
type failure struct {
	level uint8
	index int64
	blame []engine.ServerID
	err   error
}

func (d *Disk) readError(f *failure) error {
	return &ReadError{Disk: d.disk.Name, Version: d.disk.Number, Level: f.level, Index: f.index, Servers: f.blame, Err: f.err}
}
