//go:build linux && !race

package blockdev

// newMemory makes size bytes of zeros.
func newMemory(size int64) (*memory, error) { return mapAnonymous(size) }
