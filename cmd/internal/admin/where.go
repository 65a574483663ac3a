package admin

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

const (
	// DefaultSocket is where a server of the system listens.
	DefaultSocket = "/run/spate/admin.sock"
	// SocketName is the name of the socket in a server's own folder, such as that of spated --state.
	SocketName = "admin.sock"
	// DefaultPort is the port of the API over TLS.
	DefaultPort = "6912"
)

// systemState is where a server of the system keeps its state, and its socket if it has no farm file.
const systemState = "/var/lib/spate"

// usualSockets are where servers listen that were not told where to: those of this user before those of the
// system, those with a farm file before those without.
func usualSockets() []string {
	var all []string
	if os.Geteuid() != 0 {
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			all = append(all, filepath.Join(dir, "spate", SocketName))
		}
		if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
			all = append(all, filepath.Join(dir, "spate", SocketName))
		} else if home, err := os.UserHomeDir(); err == nil {
			all = append(all, filepath.Join(home, ".local", "state", "spate", SocketName))
		}
	}
	return append(all, DefaultSocket, filepath.Join(systemState, SocketName))
}

// place is where a server is.
type place struct {
	// sockets are paths of Unix sockets, tried in this order; empty for TCP.
	sockets []string
	// host is host and port.
	host string
	// plain is HTTP without TLS, on loopback.
	plain bool
}

// String names the place in a sentence.
func (p place) String() string {
	switch {
	case len(p.sockets) > 0:
		return strings.Join(p.sockets, " or ")
	case p.plain:
		return "http://" + p.host
	}
	return "https://" + p.host
}

// parsePlace understands a path, a folder with a socket in it, https://HOST[:PORT] and HOST:PORT; empty means
// the usual sockets.
func parsePlace(where string) (place, error) {
	if where == "" {
		return place{sockets: usualSockets()}, nil
	}
	path, unix := strings.CutPrefix(where, "unix:")
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, SocketName)
	}
	if unix || err == nil || !strings.Contains(where, "://") && strings.ContainsRune(where, filepath.Separator) {
		return place{sockets: []string{path}}, nil
	}
	text := where
	if !strings.Contains(where, "://") {
		text = "https://" + where
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return place{}, fmt.Errorf("%q names no server; write the path of its admin socket, or https://HOST:%s", where, DefaultPort)
	}
	p := place{host: u.Host, plain: u.Scheme == "http"}
	if u.Port() == "" {
		p.host = net.JoinHostPort(u.Hostname(), DefaultPort)
	}
	if a, err := netip.ParseAddr(u.Hostname()); p.plain && (err != nil || !a.IsLoopback()) {
		return place{}, fmt.Errorf("%q: over the network the admin API is spoken over TLS only; write https://%s", where, p.host)
	}
	return p, nil
}
