//go:build linux && !race

package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// withoutAllocations has a datagram echoed again and again.
func withoutAllocations(c Conn, to netip.AddrPort) error {
	b := Batch{Buf: make([]byte, MaxReceive)}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	var bad error
	train := make([]byte, 100)
	n := testing.AllocsPerRun(100, func() {
		bad = errors.Join(bad, c.Send(train, len(train), Path{Remote: to}), c.Receive(&b))
	})
	if n >= 1 && bad == nil {
		bad = fmt.Errorf("%v allocations for a datagram and its echo", n)
	}
	return bad
}
