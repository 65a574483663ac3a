//go:build !linux

package tftp

import (
	"fmt"
	"syscall"
)

// bindTo needs Linux.
func bindTo(name string) func(network, address string, c syscall.RawConn) error {
	if name == "" {
		return nil
	}
	return func(_, _ string, _ syscall.RawConn) error {
		return fmt.Errorf("interface %s: requests can be taken from one interface only on Linux", name)
	}
}
