//go:build !linux

package blockdev

import (
	"errors"
	"net"
)

// Listen makes a unix socket at path; only Linux has what it takes to do that safely.
func Listen(string) (net.Listener, error) {
	return nil, errors.New("an NBD socket needs Linux")
}
