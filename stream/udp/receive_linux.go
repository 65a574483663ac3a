package udp

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reader is one recvmsg: its arguments, which the kernel writes to, and its result. It lives inside the Conn so that
// nothing has to be allocated for a call.
type reader struct {
	conn *conn
	wait func(fd uintptr) bool // one attempt; false parks the goroutine
	look func(fd uintptr)      // one attempt; sets empty

	msg     unix.Msghdr
	iov     unix.Iovec
	control [controlSize]byte // aligned, because it follows iov
	name    unix.RawSockaddrInet6

	n       int
	errno   unix.Errno
	empty   bool
	fromLog bool // the result is an entry of the error queue
	errors  int  // in a row
}

func (r *reader) init(c *conn) {
	r.conn = c
	r.wait = func(fd uintptr) bool { r.attempt(fd); return !r.empty }
	r.look = r.attempt
	r.msg.Name = (*byte)(unsafe.Pointer(&r.name))
	r.msg.Iov = &r.iov
	r.msg.SetIovlen(1)
	r.msg.Control = &r.control[0]
}

// begin points the next calls at buf, end lets go of it.
func (r *reader) begin(buf []byte) {
	r.iov.Base = &buf[0]
	r.iov.SetLen(MaxReceive)
}

func (r *reader) end() { r.iov.Base = nil }

// attempt makes one non-blocking recvmsg, and, where ICMP errors are wanted and there is no datagram, one look at the
// error queue: a concurrent Send may have taken the pending error that would otherwise have told us.
func (r *reader) attempt(fd uintptr) {
	r.recvmsg(fd, unix.MSG_DONTWAIT)
	r.fromLog = false
	r.empty = r.errno == unix.EAGAIN
	if !r.conn.hints || r.errno == 0 {
		return
	}
	errno := r.errno
	if r.recvmsg(fd, unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE); r.errno == 0 {
		r.fromLog, r.empty = true, false
		return
	}
	r.errno = errno
}

func (r *reader) recvmsg(fd uintptr, flags uintptr) {
	for {
		r.msg.Namelen = unix.SizeofSockaddrInet6
		r.msg.SetControllen(controlSize)
		r.msg.Flags = 0
		n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.msg)), flags)
		if errno != unix.EINTR {
			r.n, r.errno = int(n), errno
			return
		}
	}
}

// finish turns the result into b or an error; false and nil mean that there was nothing for the caller in it.
func (r *reader) finish(b *Batch) (bool, error) {
	c := r.conn
	switch {
	case r.errno == unix.EBADF || r.errno == unix.ENOTSOCK || r.errno == unix.EFAULT || r.errno == unix.EINVAL:
		return false, fmt.Errorf("receive on %v: %w", c.local, r.errno)
	case r.errno != 0:
		if r.errors++; r.errors > maxErrors {
			r.errors = 0
			return false, fmt.Errorf("receive on %v, %d times in a row: %w", c.local, maxErrors, r.errno)
		}
		c.counters.refused.Add(1)
		return false, nil
	}
	r.errors = 0
	said := parseControl(r.control[:min(int(r.msg.Controllen), controlSize)])
	if r.fromLog {
		return false, r.refused(said)
	}
	if r.msg.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		c.counters.truncated.Add(1)
		return false, nil
	}
	b.Data = b.Buf[:r.n]
	b.From = c.zones.get(&r.name)
	b.To = said.to
	b.Segment = r.n
	if said.segment > 0 && said.segment < r.n {
		b.Segment = said.segment
	}
	return true, nil
}

// refused is the error for an entry of the error queue; nil for one that no ICMP message caused.
func (r *reader) refused(said received) error {
	if !said.hasError || (said.origin != unix.SO_EE_ORIGIN_ICMP && said.origin != unix.SO_EE_ORIGIN_ICMP6) {
		return nil
	}
	r.conn.counters.refused.Add(1)
	return &Refused{Remote: r.conn.zones.get(&r.name), Err: unix.Errno(said.errno)}
}
