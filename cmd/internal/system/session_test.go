//go:build system || timed

package system

import (
	"context"
	"crypto/rand"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

// session is a target in this process that only speaks the protocol: no disk, no caches.
type session struct {
	client *stream.Client
	moved  atomic.Int64 // how often
}

// mac is the address of the n-th session.
func mac(n int) [6]byte { return [6]byte{2, 0, 0, 1, byte(n >> 8), byte(n)} }

// openSessions logs n sessions in and ends them with the test.
func openSessions(t testing.TB, key string, servers []netip.AddrPort, first, n int) []*session {
	t.Helper()
	farm, err := secure.ParseFarmKey(key)
	ok(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	all := make([]*session, n)
	for i := range all {
		device, err := secure.GenerateKey(rand.Reader)
		ok(t, err)
		conns, err := udp.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 0), udp.Options{Refusals: true})
		ok(t, err)
		s := &session{}
		s.client = stream.NewClient(stream.ClientConfig{
			Farm: farm, Device: device, Cipher: wire.CipherAES256GCM, Servers: servers, Conn: conns[0],
			Login: wire.Login{MAC: mac(first + i), VDisk: lab.VDisk, Number: wire.NewestVersion},
			OnEvent: func(e stream.Event) {
				if e.Kind == engine.EventMoved {
					s.moved.Add(1)
				}
			},
		})
		running.Go(func() { // ends with ctx
			if err := s.client.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		all[i] = s
	}
	for _, s := range all {
		_, err := s.client.WaitServing(soon(t))
		ok(t, err)
	}
	return all
}
