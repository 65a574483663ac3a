//go:build system

package system

import (
	"math/rand/v2"
	"net"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

const (
	garbage = 200_000 // datagrams
	// garbageMemory is what they may cost a server: its bounded tables, and what the collector has not taken back yet.
	garbageMemory = 64 << 20
)

// Datagrams of random bytes, many of which begin like those of the protocol, disturb nobody and cost next to nothing.
func TestGarbageDisturbsNobody(t *testing.T) {
	f := startFarm(t, lab.Options{Servers: 1})
	target := attach(t, f, "t1")
	r := readAllTheTime(t, target)
	r.goesOn()
	s := f.Servers[0]
	before := resident(t, s.Process)
	conn, err := net.Dial("udp", s.Addr.String())
	ok(t, err)
	defer conn.Close()
	noise := rand.NewChaCha8([32]byte{7})
	rng := rand.New(noise)
	buf := make([]byte, 2000)
	for i := range garbage {
		b := buf[:rng.IntN(len(buf))]
		noise.Read(b)
		if len(b) >= 4 && i%4 > 0 {
			copy(b, []byte{byte(rng.IntN(9)), 'S', 'p', 1})
		}
		// What the socket does not take is lost like in any network.
		_, _ = conn.Write(b)
	}
	r.goesOn()
	if grown := resident(t, s.Process) - before; grown > garbageMemory {
		t.Errorf("the server has grown by %d MiB", grown>>20)
	}
	if st, err := target.Status(soon(t)); err != nil || st.Errors > 0 {
		t.Errorf("status: %+v, %v", st, err)
	}
	attach(t, f, "t2") // it still logs targets in
}
