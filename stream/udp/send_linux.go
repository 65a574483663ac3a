package udp

import (
	"fmt"
	"net"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// senders is how many Sends can be in the kernel at once on one Conn; more wait for one another. A socket has one
	// egress loop and one receive loop, so two is the usual most.
	senders = 4
	// maxPending is how often a call is made again because it failed with an ICMP error that was pending on the socket,
	// which may be about quite another remote address.
	maxPending = 3
)

// sender is one sendmsg, like reader for the other direction.
type sender struct {
	mu   sync.Mutex // guards everything below
	conn *conn
	call func(fd uintptr)

	msg     unix.Msghdr
	iov     unix.Iovec
	control [controlSize]byte // aligned, because it follows iov
	name    unix.RawSockaddrInet6
	errno   unix.Errno
}

func (s *sender) init(c *conn) {
	s.conn = c
	s.call = s.sendmsg
	s.msg.Name = (*byte)(unsafe.Pointer(&s.name))
	s.msg.Iov = &s.iov
	s.msg.SetIovlen(1)
}

func (s *sender) sendmsg(fd uintptr) {
	for {
		_, _, s.errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if s.errno != unix.EINTR {
			return
		}
	}
}

// sender takes a free one, locked.
func (c *conn) sender() *sender {
	for i := range c.senders {
		if s := &c.senders[i]; s.mu.TryLock() {
			return s
		}
	}
	s := &c.senders[0]
	s.mu.Lock()
	return s
}

// Send implements Conn.
func (c *conn) Send(train []byte, segment int, p Path) error {
	if err := checkTrain(train, segment); err != nil {
		return err
	}
	s := c.sender()
	defer s.mu.Unlock()
	var err error
	if s.msg.Namelen, err = c.zones.put(&s.name, p.Remote, c.v6); err != nil {
		return fmt.Errorf("send to %v: %w", p.Remote, err)
	}
	for len(train) > 0 {
		var call []byte
		if call, train = cut(train, segment); len(call) <= segment {
			err = s.single(call, p)
		} else {
			err = s.several(call, segment, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// several sends more than one datagram: with one call where the path can do it.
func (s *sender) several(train []byte, segment int, p Path) error {
	c, remote := s.conn, p.Remote.Addr()
	if !c.paths.usable(remote, time.Now) {
		return s.plain(train, segment, p)
	}
	switch errno, err := s.send(train, segment, p); {
	case err != nil:
		return err
	case errno == unix.EIO || errno == unix.EINVAL || errno == unix.EOPNOTSUPP:
		// The kernel will not segment for this route: or, with EINVAL, the datagrams are too big, or the local
		// address is gone. Only datagrams that go out one by one show that it was the offload.
		if err := s.plain(train, segment, p); err != nil {
			return err
		}
		c.paths.add(remote, fmt.Sprintf("sending segments to %v: %v", remote, errno), time.Now())
		return nil
	default:
		return s.fate(errno, p)
	}
}

// plain sends a train one call a datagram.
func (s *sender) plain(train []byte, segment int, p Path) error {
	for len(train) > 0 {
		var one []byte
		one, train = Split(train, segment)
		if err := s.single(one, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) single(datagram []byte, p Path) error {
	errno, err := s.send(datagram, 0, p)
	if err != nil {
		return err
	}
	return s.fate(errno, p)
}

// send makes the call, with segment 0 for a single datagram. The error is about the Conn, the errno about this call.
func (s *sender) send(data []byte, segment int, p Path) (unix.Errno, error) {
	c := s.conn
	control := s.control[:0]
	if segment > 0 {
		control = appendSegment(control, segment)
	}
	if p.Local.IsValid() && !p.Local.IsUnspecified() && (c.v6 || p.Local.Unmap().Is4()) {
		control = appendSource(control, p.Local.Unmap(), c.v6)
	}
	s.msg.Control = nil
	if len(control) > 0 {
		s.msg.Control = &s.control[0]
	}
	s.msg.SetControllen(len(control))
	s.iov.Base = &data[0]
	s.iov.SetLen(len(data))
	defer func() { s.iov.Base = nil }()
	for try := 1; ; try++ {
		if err := c.raw.Control(s.call); err != nil {
			return 0, c.closing(err)
		}
		if s.errno == 0 || s.errno == unix.EAGAIN || !c.hints || try >= maxPending {
			return s.errno, nil
		}
	}
}

// fate turns an errno into what Conn promises.
func (s *sender) fate(errno unix.Errno, p Path) error {
	c := s.conn
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		c.counters.dropped.Add(1)
		return ErrDropped
	case unix.EMSGSIZE:
		c.counters.tooBig.Add(1)
		return ErrTooBig
	case unix.EBADF:
		return net.ErrClosed
	case unix.EFAULT, unix.ENOTSOCK, unix.EDESTADDRREQ, unix.EAFNOSUPPORT, unix.EOPNOTSUPP:
		return fmt.Errorf("send from %v to %v: %w", c.local, p.Remote, errno)
	case unix.EINVAL:
		if p.Remote.Port() == 0 || !p.Local.IsValid() {
			return fmt.Errorf("send from %v to %v: %w", c.local, p.Remote, errno)
		}
	}
	c.counters.unreachable.Add(1)
	return ErrUnreachable
}
