package tftp

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindTo makes a socket take what comes in by one interface only.
func bindTo(name string) func(network, address string, c syscall.RawConn) error {
	if name == "" {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var bound error
		err := c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), name) })
		if err := errors.Join(err, bound); err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
		return nil
	}
}
