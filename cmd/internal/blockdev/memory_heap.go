//go:build !linux || race

package blockdev

// newMemory makes size bytes of zeros: of the Go heap, where there is no better, and where the race detector is to see who
// uses them.
func newMemory(size int64) (*memory, error) {
	return &memory{bytes: make([]byte, size)}, nil
}
