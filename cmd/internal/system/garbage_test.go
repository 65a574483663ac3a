//go:build system

package system

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

const (
	// garbage is how many datagrams must reach the server; what its socket drops does not count.
	garbage      = 1_000_000
	garbageBurst = 10_000
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
	dropped, sent := drops(t, s.Addr.Port()), 0
	for sent-(drops(t, s.Addr.Port())-dropped) < garbage {
		for range garbageBurst {
			b := buf[:rng.IntN(len(buf))]
			noise.Read(b)
			if len(b) >= 4 && sent%4 > 0 {
				copy(b, []byte{byte(rng.IntN(9)), 'S', 'p', 1})
			}
			if _, err := conn.Write(b); err == nil { // what the sender's own socket does not take is not sent
				sent++
			}
		}
	}
	t.Logf("%d datagrams were sent, of which the server's sockets dropped %d", sent, drops(t, s.Addr.Port())-dropped)
	r.goesOn()
	if grown := resident(t, s.Process) - before; grown > garbageMemory {
		t.Errorf("the server has grown by %d MiB", grown>>20)
	}
	if st, err := target.Status(soon(t)); err != nil || st.Errors > 0 {
		t.Errorf("status: %+v, %v", st, err)
	}
	attach(t, f, "t2") // it still logs targets in
}

// drops is how many datagrams the sockets of a port have dropped because they were full.
func drops(t *testing.T, port uint16) (n int) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/udp")
	ok(t, err)
	sockets := 0
	for line := range strings.Lines(string(table)) {
		// sl local_address rem_address … drops
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			continue
		}
		d, err := strconv.Atoi(f[len(f)-1])
		ok(t, err)
		n += d
		sockets++
	}
	if sockets == 0 {
		t.Fatalf("no socket has port %d:\n%s", port, table)
	}
	return n
}
