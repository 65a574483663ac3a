package stream

import (
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/wire"
)

// Image is what a server streams: one version of a vDisk, as stored objects.
// Its methods may be called by many goroutines.
type Image interface {
	// Disk describes the version.
	Disk() wire.Disk
	// Store names what the image lies on; reads of one store share a pool.
	Store() string
	// ReadAnswer reads bytes [from, from+len(p)) of the concatenation of the
	// stored bytes of objects level/first to level/first+count-1, fewer at the
	// end, and tells the length of the whole. It does not keep p. An error that
	// implements [BadObject] names an object of which this copy is no good.
	ReadAnswer(p []byte, level int, first int64, count int, from int64) (n int, total int64, err error)
	// Check reads one object again, compares it with its hash and fences it when
	// they differ. It is called when a target says that the object did not verify.
	Check(level int, index int64) error
}

// QuickImage is an Image that may have what is asked for in memory.
type QuickImage interface {
	Image
	// TryReadAnswer is ReadAnswer that never waits. When it is false, for whatever
	// reason, ReadAnswer will tell. Receive loops call it.
	TryReadAnswer(p []byte, level int, first int64, count int, from int64) (n int, total int64, ok bool)
}

// BadObject is an error that names the object it is about.
type BadObject interface {
	error
	Object() (level int, index int64)
}

// What a server asks of the farm it belongs to.
type (
	// Admitter decides who may log in and where. The Image of its decisions must
	// be an [Image].
	Admitter = engine.Admitter
	// Decision is the answer to a log-in.
	Decision = engine.Decision
	// Who is a target that logs in.
	Who = engine.Who
	// Session is one target's session, as the Admitter is told of it.
	Session = engine.Session
	// ServerID is the lasting identity of a server.
	ServerID = engine.ServerID
)
