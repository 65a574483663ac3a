package admin

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// userOf names the user and the process at the other end of a Unix socket.
func userOf(c *net.UnixConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return "somebody on this machine"
	}
	who := "somebody on this machine"
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			who = fmt.Sprintf("uid %d, pid %d", cred.Uid, cred.Pid)
		}
	})
	return who
}
