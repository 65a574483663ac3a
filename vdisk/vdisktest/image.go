package vdisktest

import (
	"bytes"
	"errors"
	"sync"

	"github.com/spate-project/spate/vdisk"
	"github.com/spate-project/spate/vdisk/tree"
)

// Image is what readers want of an open version; *vdisk.Version is one.
type Image interface {
	Shape() tree.Shape
	ID() vdisk.ID
	Name() string
	Number() uint32
	ReadAnswer(p []byte, level int, first int64, count int, from int64) (n int, total int64, err error)
	Check(level int, index int64) error
}

// Memory is an image in memory, and the plainest one there can be. It is safe for concurrent use.
type Memory struct {
	name   string
	number uint32
	id     vdisk.ID
	shape  tree.Shape
	// objects holds the stored bytes by level and index; what is zero is empty. It is not changed after New.
	objects [][][]byte

	mu sync.Mutex
	// damaged is guarded by mu: objects of which the first bit is wrong; true for those that Check has found.
	damaged map[[2]int64]bool
}

// New makes an image in memory of a disk, whose length must be a multiple of 512.
func New(name string, number uint32, timestamp int64, disk []byte, chunk uint32, codec tree.Codec) (*Memory, error) {
	m := &Memory{
		name: name, number: number, damaged: map[[2]int64]bool{},
		shape: tree.Shape{Size: int64(len(disk)), SectorSize: 512, ChunkSize: chunk},
	}
	if err := m.shape.Validate(); err != nil {
		return nil, err
	}
	enc, err := tree.NewEncoder(codec)
	if err != nil {
		return nil, err
	}
	for level := range m.shape.Levels() + 1 {
		m.objects = append(m.objects, make([][]byte, m.shape.Count(level)))
	}
	b := tree.NewBuilder(func(level int, index int64, page []byte) error {
		m.objects[level][index] = bytes.Clone(page)
		return nil
	})
	for i := range m.objects[0] {
		e, stored := enc.Encode(nil, disk[int64(i)*int64(chunk):][:m.shape.ChunkLength(int64(i))])
		m.objects[0][i] = bytes.Clone(stored)
		if err := b.Add(e); err != nil {
			return nil, err
		}
	}
	top, _, err := b.Finish()
	m.id = vdisk.ID{Root: m.shape.Root(top, tree.Hash{}), Timestamp: timestamp}
	return m, err
}

// Shape gives the sizes of the disk.
func (m *Memory) Shape() tree.Shape { return m.shape }

// ID gives the identity.
func (m *Memory) ID() vdisk.ID { return m.id }

// Name gives the name of the vDisk.
func (m *Memory) Name() string { return m.name }

// Number gives the number of the version.
func (m *Memory) Number() uint32 { return m.number }

// Damage flips the first bit of the stored bytes of an object, as they are read from now on. An object without
// stored bytes cannot be damaged.
func (m *Memory) Damage(level int, index int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.objects[level][index]) > 0 {
		m.damaged[[2]int64{int64(level), index}] = false
	}
}

// ReadAnswer is that of vdisk.Version.
func (m *Memory) ReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, error) {
	if level < 0 || level >= len(m.objects) || first < 0 || count < 1 || from < 0 ||
		first > int64(len(m.objects[level]))-int64(count) {
		return 0, 0, vdisk.ErrRange
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, total := 0, int64(0)
	for i := first; i < first+int64(count); i++ {
		found, bad := m.damaged[[2]int64{int64(level), i}]
		if found {
			return 0, 0, &vdisk.DamagedError{Level: level, Index: i, Reason: "fenced"}
		}
		stored := m.objects[level][i]
		if skip := from + int64(n) - total; n < len(p) && skip < int64(len(stored)) {
			k := copy(p[n:], stored[skip:])
			if bad && skip == 0 && k > 0 {
				p[n] ^= 1
			}
			n += k
		}
		total += int64(len(stored))
	}
	return n, total, nil
}

// Check is that of vdisk.Version.
func (m *Memory) Check(level int, index int64) error {
	if level < 0 || level >= len(m.objects) || index < 0 || index >= int64(len(m.objects[level])) {
		return vdisk.ErrRange
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]int64{int64(level), index}
	if _, bad := m.damaged[key]; bad {
		m.damaged[key] = true
		return &vdisk.DamagedError{Level: level, Index: index, Reason: "has another hash than the tree says"}
	}
	return nil
}

// ErrFault is what a faulty image gives unless it is told another error.
var ErrFault = errors.New("the image is faulty")

// Faulty is an image whose operations fail as often as Fail says.
type Faulty struct {
	Image
	// Fail is asked before each operation and gives the error it fails with, or nil. It must be safe for
	// concurrent use where the image is used so.
	Fail func(level int, first int64, count int) error
}

// ReadAnswer is that of Image, unless it fails.
func (f *Faulty) ReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, error) {
	if err := f.Fail(level, first, count); err != nil {
		return 0, 0, err
	}
	return f.Image.ReadAnswer(p, level, first, count, from)
}

// Check is that of Image, unless it fails.
func (f *Faulty) Check(level int, index int64) error {
	if err := f.Fail(level, index, 1); err != nil {
		return err
	}
	return f.Image.Check(level, index)
}

// Slow is an image whose operations take as long as Wait does.
type Slow struct {
	Image
	// Wait is called before each operation: it sleeps, or waits for the test. It must be safe for concurrent
	// use where the image is used so.
	Wait func()
}

// ReadAnswer is that of Image, later.
func (s *Slow) ReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, error) {
	s.Wait()
	return s.Image.ReadAnswer(p, level, first, count, from)
}

// Check is that of Image, later.
func (s *Slow) Check(level int, index int64) error {
	s.Wait()
	return s.Image.Check(level, index)
}

// Short is an image that gives at most Max bytes at once, however much is asked for. It does not keep the
// contract, which says when an answer is whole: who reads must not take the end of p for the end of an answer.
type Short struct {
	Image
	Max int
}

// ReadAnswer is that of Image, of the first Max bytes of p.
func (s *Short) ReadAnswer(p []byte, level int, first int64, count int, from int64) (int, int64, error) {
	return s.Image.ReadAnswer(p[:min(len(p), s.Max)], level, first, count, from)
}
