//go:build !linux

package tftp

import (
	"fmt"
	"syscall"
)

// prepare needs Linux for an interface of its own.
func prepare(interfaceName string) func(network, address string, c syscall.RawConn) error {
	if interfaceName == "" {
		return nil
	}
	return func(_, _ string, _ syscall.RawConn) error {
		return fmt.Errorf("interface %s: requests can be taken from one interface only on Linux", interfaceName)
	}
}
