package udp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// owner is the sign on the door of a port: a listening unix socket in the abstract namespace, which belongs to the
// network namespace as the port does and disappears with the process. Nobody accepts on it; whoever connects learns the
// listener's process id from the kernel. It is only a sign: what keeps others out is how the first socket is bound.
type owner struct {
	users atomic.Int32 // Conns that are open
	sign  net.Listener // nil when the name was taken
}

func signName(a netip.AddrPort) string { return "@spate/udp/" + a.String() }

// hold puts the sign up. Failing is harmless: the next one's error is only less clear.
func (o *owner) hold(a netip.AddrPort) {
	if l, err := net.Listen("unix", signName(a)); err == nil {
		o.sign = l
	}
}

// release takes the sign down when the last Conn of the port is closed.
func (o *owner) release() error {
	if o.users.Add(-1) > 0 || o.sign == nil {
		return nil
	}
	return o.sign.Close()
}

// InUseError says that the address is somebody's. It is an EADDRINUSE.
type InUseError struct {
	Addr    netip.AddrPort
	Process string // name of the process, when it is one of ours and not hidden
	PID     int    // 0 when unknown
}

// Error names the process, or tells how to find it.
func (e *InUseError) Error() string {
	where := fmt.Sprintf("port %d", e.Addr.Port())
	if !e.Addr.Addr().IsUnspecified() {
		where += " on " + e.Addr.Addr().String()
	}
	if e.PID == 0 {
		return fmt.Sprintf("%s is taken by another program (ss -ulpn 'sport = :%d' shows which)", where, e.Addr.Port())
	}
	name := e.Process
	if name == "" {
		name = "another process"
	}
	return where + " is taken by " + name + ", pid " + strconv.Itoa(e.PID)
}

// Unwrap gives EADDRINUSE.
func (e *InUseError) Unwrap() error { return unix.EADDRINUSE }

// taken finds out who holds addr, also if it is held as part of a wildcard address.
func taken(addr netip.AddrPort) error {
	e := &InUseError{Addr: addr}
	for _, ip := range []netip.Addr{addr.Addr(), netip.IPv6Unspecified(), netip.IPv4Unspecified()} {
		if e.PID = holder(netip.AddrPortFrom(ip, addr.Port())); e.PID != 0 {
			break
		}
	}
	if e.PID != 0 {
		comm, _ := os.ReadFile("/proc/" + strconv.Itoa(e.PID) + "/comm")
		e.Process = strings.TrimSpace(string(comm))
	}
	return e
}

// holder is the process that put up the sign for addr, or 0.
func holder(addr netip.AddrPort) int {
	c, err := net.Dial("unix", signName(addr))
	if err != nil {
		return 0
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
