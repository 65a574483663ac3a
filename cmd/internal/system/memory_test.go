//go:build system

package system

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

// resident is the memory of a process in bytes.
func resident(t testing.TB, p *lab.Process) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	ok(t, err)
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// settled is the memory once it does not grow any more.
func settled(t testing.TB, p *lab.Process) int64 {
	t.Helper()
	last := resident(t, p)
	for {
		time.Sleep(time.Second)
		now := resident(t, p)
		if now <= last {
			return now
		}
		last = now
	}
}

// maxSession is what a session that does nothing may cost its server.
const maxSession = 64 << 10

// A session that does nothing costs the server at most 64 KiB.
func TestIdleSessionsAreCheap(t *testing.T) {
	p := folderServer(t, storeWithDisk(t))
	line := strings.Fields(await(t, p, "spate-target attach"))
	await(t, p, "ready")
	server, key := netip.MustParseAddrPort(line[3]), line[5]
	openSessions(t, key, []netip.AddrPort{server}, 0, 100)
	few := settled(t, p)
	openSessions(t, key, []netip.AddrPort{server}, 100, 1000)
	many := settled(t, p)
	each := (many - few) / 1000
	t.Logf("%d KiB with 100 sessions, %d KiB with 1,100: %.1f KiB each", few>>10, many>>10, float64(each)/1024)
	if each > maxSession {
		t.Errorf("a session costs %d bytes", each)
	}
}
