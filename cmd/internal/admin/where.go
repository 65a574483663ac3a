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

// UserSocket is where a server of this user listens by default: the system's place for root, and one in the
// user's runtime folder for everybody else, empty when there is no such folder.
func UserSocket() string {
	if os.Geteuid() == 0 {
		return DefaultSocket
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "spate", SocketName)
	}
	return ""
}

// place is where a server is.
type place struct {
	// sockets are paths of Unix sockets, of which the first that exists counts; empty for TCP.
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
		return p.socket()
	case p.plain:
		return "http://" + p.host
	}
	return "https://" + p.host
}

// socket is the socket to connect to: the first that exists, or else the first.
func (p place) socket() string {
	for _, path := range p.sockets {
		if _, err := os.Lstat(path); err == nil || os.IsPermission(err) {
			return path
		}
	}
	return p.sockets[0]
}

// parsePlace understands a path, a folder with a socket in it, https://HOST[:PORT] and HOST:PORT; empty means
// the usual sockets.
func parsePlace(where string) (place, error) {
	if where == "" {
		var p place
		if own := UserSocket(); own != "" && own != DefaultSocket {
			p.sockets = append(p.sockets, own)
		}
		p.sockets = append(p.sockets, DefaultSocket)
		return p, nil
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
