//go:build !linux || race

package remote

// memory is memory of the Go heap, where there is no better, and where the race detector is to see who uses it.
type memory struct{ bytes []byte }

func newMemory(size int64) (memory, error) { return memory{bytes: make([]byte, size)}, nil }

func (m *memory) free() error {
	m.bytes = nil
	return nil
}
