package httpboot

import (
	"net"
	"net/netip"
	"sync"
)

// fairListener lets no address have more than MaxPerAddress connections at once: a machine that opens them and asks for nothing
// would keep all others from booting. What is too many is closed at once.
type fairListener struct {
	net.Listener
	mu   sync.Mutex
	each map[netip.Addr]int // guarded by mu: open connections, none of them 0
}

func newFairListener(l net.Listener) *fairListener {
	return &fairListener{Listener: l, each: make(map[netip.Addr]int)}
}

// Accept gives the next connection of an address that may have one more.
func (l *fairListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		at, _ := netip.ParseAddrPort(c.RemoteAddr().String()) // those that have none share one place
		if from := at.Addr().Unmap(); l.enter(from) {
			return &fairConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = c.Close() // nothing was read or written
	}
}

func (l *fairListener) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each[from] >= MaxPerAddress {
		return false
	}
	l.each[from]++
	return true
}

func (l *fairListener) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each[from]--; l.each[from] == 0 {
		delete(l.each, from)
	}
}

// fairConn gives its place back when it is closed.
type fairConn struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *fairConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
