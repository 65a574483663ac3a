package admin

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/admin/admintest"
)

const nobody = 65534

// A user whom the socket's mode keeps out reads which socket that is and what to do.
func TestASocketOfSomebodyElseIsNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a second user is needed; run this test as root")
	}
	dir, err := os.MkdirTemp("", "spate-admin-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // the folder lets everybody through
		t.Fatal(err)
	}
	path := filepath.Join(dir, SocketName)
	serve(t, Options{Service: (&admintest.Farm{}).Service(), Socket: path})
	c, err := dial(path, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setfsuid(nobody); err != nil {
			refused <- err
			return
		}
		conn, err := c.http.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err == nil {
			conn.Close()
		}
		refused <- err
	}()
	err = <-refused
	if err == nil {
		t.Fatal("nobody got in")
	}
	if said := c.unreachable(err).Error(); !strings.Contains(said, path+" may not be used by this user (its mode is 0600); use sudo") {
		t.Error(said)
	}
}
