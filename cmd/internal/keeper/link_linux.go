package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage bounds one message in bytes.
const maxMessage = 64 << 10

// errMessage says that a message cannot be read. The next one may be.
var errMessage = errors.New("a message that cannot be read")

// message is what goes over a link: exactly one of its parts.
type message struct {
	Config *Config         `json:"config,omitempty"` // to the keeper, and to each worker first
	Event  *Event          `json:"event,omitempty"`
	State  json.RawMessage `json:"state,omitempty"` // from the worker: for its successor
}

// link is one end of a SOCK_SEQPACKET pair. Any goroutine may send; one at a time receives.
type link struct {
	conn   *net.UnixConn
	raw    syscall.RawConn
	buffer []byte
}

// newPair makes two ends; theirs is for a child.
func newPair() (mine *link, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "link")
	if mine, err = newLink(os.NewFile(uintptr(fds[0]), "link")); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return mine, theirs, nil
}

// newLink takes over one end.
func newLink(f *os.File) (*link, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("link: not a unix socket"), c.Close())
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return &link{conn: u, raw: raw, buffer: make([]byte, maxMessage)}, nil
}

func (m message) bytes() ([]byte, error) {
	b, err := json.Marshal(m)
	if err == nil && len(b) > maxMessage {
		err = fmt.Errorf("a message of %d bytes, the most are %d", len(b), maxMessage)
	}
	return b, err
}

// send waits until there is room, or for the write deadline.
func (l *link) send(m message) error {
	b, err := m.bytes()
	if err != nil {
		return err
	}
	_, err = l.conn.Write(b)
	return err
}

// sendNow does not wait, whoever else is sending.
func (l *link) sendNow(m message) error {
	b, err := m.bytes()
	if err != nil {
		return err
	}
	var sent error
	err = l.raw.Control(func(fd uintptr) { _, sent = unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) })
	return errors.Join(err, sent)
}

// receive waits for a message. io.EOF says that the other end has gone.
func (l *link) receive(ctx context.Context) (m message, err error) {
	_ = l.conn.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := l.conn.Read(l.buffer)
	if errors.Is(err, unix.ECONNRESET) {
		// The other end has gone and left something of ours unread. That is told once, and before what it has sent itself, which
		// may be all that its successor will know.
		n, err = l.conn.Read(l.buffer)
	}
	switch {
	case ctx.Err() != nil:
		return m, context.Cause(ctx)
	case err == nil && n == 0:
		return m, io.EOF // there are no empty messages
	case err != nil:
		return m, err
	}
	if err := json.Unmarshal(l.buffer[:n], &m); err != nil {
		return message{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	return m, nil
}

// Close closes this end.
func (l *link) Close() error { return l.conn.Close() }
