//go:build !linux

package vdisk

import "os"

// quickened is f: there is no read without waiting here.
func quickened(f *os.File) backing { return f }
