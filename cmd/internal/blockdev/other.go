//go:build !linux

package blockdev

import (
	"fmt"
	"net"
	"os"
)

var errNoKernel = fmt.Errorf("devices of the kernel: %w on this system; use a socket (--nbd-socket)", ErrUnsupported)

// AttachKernel is for Linux.
func AttachKernel(Device, KernelOptions) (*KernelDevice, error) { return nil, errNoKernel }

// ResumeKernel is for Linux.
func ResumeKernel(Device, KernelOptions) (*KernelDevice, error) { return nil, errNoKernel }

// KernelAttached tells whether a device is attached; there is none.
func KernelAttached(uint32) bool { return false }

// ReleaseKernel is for Linux.
func ReleaseKernel(uint32) error { return errNoKernel }

// KernelIndex is for Linux.
func KernelIndex(string) (uint32, error) { return 0, errNoKernel }

// Path is the device's file.
func (n *KernelDevice) Path() string { return "" }

func socketPair() (net.Conn, *os.File, error) { return nil, nil, errNoKernel }
