package blockdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketMode = 0o600
	// maxSocketPath is the length of the field in the kernel's address, less its terminating zero.
	maxSocketPath = 107
	// lockPatience bounds the wait for another process that is making a socket in the same folder; it takes far less
	// than a millisecond there.
	lockPatience = 2 * time.Second
)

// Listen makes a unix socket at path that only its owner can connect to. A socket file that a dead process left is
// replaced; one that somebody listens on is an error that names the process, and so is anything that is no socket.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes, a socket's may have %d; choose a shorter one", path, len(path), maxSocketPath)
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("socket %s: there is no folder %s; make it first: %w", path, filepath.Dir(path), err)
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			// The file that bind makes has this mode from its first moment.
			set = unix.Fchmod(int(fd), socketMode)
		})
		return errors.Join(err, set)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, cause(err))
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false)
	info, err := os.Lstat(path)
	if err != nil {
		_ = u.Close()
		return nil, fmt.Errorf("socket %s: %w", path, cause(err))
	}
	return &listener{UnixListener: u, path: path, info: info}, nil
}

// listener removes its file when it is closed, if it still is its file.
type listener struct {
	*net.UnixListener
	path string
	info os.FileInfo
	once sync.Once
	err  error
}

// Close ends the listener and removes its socket file.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.err = l.UnixListener.Close()
		unlock, err := lockFolder(filepath.Dir(l.path))
		if err != nil {
			return // the next one finds the file stale
		}
		defer unlock()
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.path)
		}
	})
	return l.err
}

// lockFolder keeps two processes from judging and replacing the same socket file at once. The lock is the folder's own,
// so that no file is left behind.
func lockFolder(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, cause(err)
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = d.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Since(start) > lockPatience {
			_ = d.Close()
			return nil, fmt.Errorf("lock the folder %s: %w", dir, err)
		}
	}
}

// removeStale removes a socket file that nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return cause(err)
	case info.Mode()&fs.ModeSocket == 0:
		return errors.New("there is a file of this name that is no socket; remove it or choose another name")
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		defer c.Close()
		return fmt.Errorf("taken by %s; end that or choose another name", peerOf(c))
	case errors.Is(err, unix.ECONNREFUSED):
		return cause(os.Remove(path))
	}
	return fmt.Errorf("somebody may be listening there: %w", cause(err))
}

// peerOf names the process at the other end.
func peerOf(c net.Conn) string {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return "another process"
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if pid == 0 {
		return "another process"
	}
	name := "another process"
	if comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); err == nil {
		name = strings.TrimSpace(string(comm))
	}
	return name + ", pid " + strconv.Itoa(pid)
}

// cause takes the operation and the path off an error of package os or net, which say what ours says already.
func cause(err error) error {
	var path *fs.PathError
	var op *net.OpError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &op):
		return op.Err
	}
	return err
}
