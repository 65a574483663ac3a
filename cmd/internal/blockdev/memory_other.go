//go:build !linux

package blockdev

import (
	"fmt"
	"os"
)

func mapFile(*os.File, int64) (*memory, error) {
	return nil, fmt.Errorf("memory that outlives a process: %w on this system", ErrUnsupported)
}

func (m *memory) punch(int64, int64) bool { return false }

func (m *memory) populate(int64, int64) {}

func (m *memory) nextPresent(_, end int64) int64 { return end }

func (m *memory) free() error {
	m.bytes = nil
	return nil
}
