package farm

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk"
)

// lingers is how long a version stays open that no store lists and no session uses: an accepted target may
// still be on its way.
const lingers = 30 * time.Second

// library keeps the versions of a server's stores open for the stream service. A version that left its store
// stays readable until the last session that uses it has ended. It is safe for concurrent use.
type library struct {
	stores []*vdisk.Store

	mu      sync.Mutex // guards the fields below
	open    map[Content]*shelved
	retired []retired
}

// retired is a version whose file was replaced; reads that are in flight may still use it for a while.
type retired struct {
	version *vdisk.Version
	since   time.Time
}

// shelved is one open version.
type shelved struct {
	image    *image
	sessions int
	idle     time.Time // since when no store lists it and no session uses it; zero while one does
}

// image makes a version what the stream service reads. When its file is replaced by another one with the same
// content, a damaged replica by a good copy, the sessions that use it read the new file from then on.
type image struct {
	version atomic.Pointer[vdisk.Version]
	store   string
	disk    wire.Disk
}

func newImage(v *vdisk.Version, store string, disk wire.Disk) *image {
	i := &image{store: store, disk: disk}
	i.version.Store(v)
	return i
}

// Disk describes the version.
func (i *image) Disk() wire.Disk { return i.disk }

// Store names the store in which the version lies.
func (i *image) Store() string { return i.store }

// ReadAnswer reads stored objects; an error that concerns one object names it.
func (i *image) ReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, error) {
	n, total, err := i.version.Load().ReadAnswer(p, level, first, count, from)
	if err != nil {
		err = nameObject(err)
	}
	return n, total, err
}

// TryReadAnswer reads stored objects that the system has in memory.
func (i *image) TryReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, bool) {
	return i.version.Load().TryReadAnswer(p, level, first, count, from)
}

// Check reads one object again and fences it when it is bad.
func (i *image) Check(level int, index int64) error {
	return nameObject(i.version.Load().Check(level, index))
}

// badObject says to the stream service which object an error is about.
type badObject struct{ *vdisk.DamagedError }

// Object is the object that this replica cannot give.
func (b badObject) Object() (level int, index int64) { return b.Level, b.Index }

func nameObject(err error) error {
	var damaged *vdisk.DamagedError
	if errors.As(err, &damaged) {
		return badObject{damaged}
	}
	return err
}

var _ stream.QuickImage = (*image)(nil)

func newLibrary(stores []*vdisk.Store) *library {
	return &library{stores: stores, open: map[Content]*shelved{}}
}

// refresh opens what the stores list, closes what is idle, and returns what this server holds.
func (l *library) refresh(now time.Time) []Replica {
	var held []Replica
	listed := map[Content]bool{}
	for _, s := range l.stores {
		inventory := s.Inventory()
		for _, r := range inventory.Replicas {
			one := replicaOf(s.Name(), r)
			held = append(held, one)
			listed[one.Content] = true
			l.keep(now, s, one, r.ID)
		}
		for _, b := range inventory.Bad {
			name, number, err := vdisk.ParseFileName(b.File)
			if err == nil {
				held = append(held, Replica{Store: s.Name(), VDisk: name, Number: number, Problem: b.Reason})
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, b := range l.open {
		switch {
		case listed[c] || b.sessions > 0:
			b.idle = time.Time{}
		case b.idle.IsZero():
			b.idle = now
		case now.Sub(b.idle) > lingers:
			b.image.version.Load().Close()
			delete(l.open, c)
		}
	}
	l.retired = slices.DeleteFunc(l.retired, func(r retired) bool {
		over := now.Sub(r.since) > lingers
		if over {
			r.version.Close()
		}
		return over
	})
	return held
}

// keep opens a version, or takes the file that the store has now in the place of the one that is open.
func (l *library) keep(now time.Time, s *vdisk.Store, r Replica, id vdisk.ID) {
	v, err := s.AcquireID(id)
	if err != nil {
		return // gone since the inventory was made
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.open[r.Content]
	switch {
	case b == nil:
		l.open[r.Content] = &shelved{image: newImage(v, s.Name(), r.wireDisk())}
	case b.image.version.Load() == v || b.image.store != s.Name():
		v.Close() // known, or a second copy in another store
	default:
		l.retired = append(l.retired, retired{b.image.version.Swap(v), now})
	}
}

// image returns the open version with this content.
func (l *library) image(c Content) (*image, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.open[c]; b != nil {
		return b.image, true
	}
	return nil, false
}

// use counts a session that begins, by 1, or ends, by -1.
func (l *library) use(c Content, by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.open[c]; b != nil {
		b.sessions += by
	}
}

func (l *library) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, b := range l.open {
		b.image.version.Load().Close()
		delete(l.open, c)
	}
	for _, r := range l.retired {
		r.version.Close()
	}
	l.retired = nil
}

// replicaOf is what servers tell each other of a replica in a store.
func replicaOf(store string, r vdisk.Replica) Replica {
	one := Replica{
		Store: store, VDisk: r.Name, Number: r.Number,
		Content: Content{Digest(r.ID.Root), r.ID.Timestamp}, Disk: Digest(r.Logical),
		Size: r.Shape.Size, Stored: r.Summary.File, Sector: r.Shape.SectorSize, Chunk: r.Shape.ChunkSize,
		Levels: uint8(r.Shape.Levels()),
	}
	one.Boot = ReplicaBoot{
		Digest: Digest(r.Boot.Digest), Kernel: r.Boot.Kernel.Size > 0, Image: r.Boot.Image.Size > 0,
		CommandLine: r.Boot.CommandLine, Problem: r.Boot.Problem,
	}
	for _, d := range r.Damage {
		if d.Fenced && !d.Boot { // of boot files Boot tells
			one.Fenced++
		}
	}
	return one
}

// wireDisk describes a version to targets.
func (r Replica) wireDisk() wire.Disk {
	return wire.Disk{
		Name: r.VDisk, Number: r.Number, Content: wire.Content{Root: r.Root, Timestamp: r.Timestamp},
		Size: r.Size, SectorSize: r.Sector, ChunkSize: r.Chunk, Levels: r.Levels, Mode: wire.ModeStandard,
		Boot: r.Boot.Digest,
	}
}
