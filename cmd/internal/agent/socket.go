package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	socketPrefix = "target-"
	socketSuffix = ".status"
	askTimeout   = 2 * time.Second
	maxStatus    = 1 << 20 // bytes of one answer
)

// FolderVariable names the variable of the environment that says where status sockets lie, instead of the usual
// folders. Farms that are tested beside others use it.
const FolderVariable = "SPATE_RUN_DIR"

// folders are where status sockets lie: the system's, and the user's own.
func folders() []string {
	if dir := os.Getenv(FolderVariable); dir != "" {
		return []string{dir}
	}
	list := []string{"/run/spate"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		list = append(list, filepath.Join(dir, "spate"))
	}
	return append(list, filepath.Join(os.TempDir(), "spate-"+strconv.Itoa(os.Getuid())))
}

// makeFolder makes the first folder that this user may write to.
func makeFolder() (string, error) {
	var bad []error
	for _, dir := range folders() {
		err := usable(dir)
		if err == nil {
			return dir, nil
		}
		bad = append(bad, err)
	}
	return "", fmt.Errorf("no place for the status socket: %w", errors.Join(bad...))
}

// usable makes a folder and tells why this user cannot keep sockets in it.
func usable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !ours(st) {
		return fmt.Errorf("%s belongs to another user", dir)
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// ServeStatus answers `spate-target status` until ctx ends.
func (a *Attachment) ServeStatus(ctx context.Context) error {
	dir, err := makeFolder()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, socketPrefix+strconv.Itoa(os.Getpid())+socketSuffix)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // of a process that had our number before
	}
	l, err := net.Listen("unix", path) // removed again when it closes
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		// Whoever hangs up early does not want to know.
		_ = c.SetDeadline(time.Now().Add(askTimeout))
		_ = json.NewEncoder(c).Encode(a.Status())
		c.Close()
	}
}

// Find asks every attachment of this machine that this user may ask.
func Find() ([]Status, error) {
	var all []Status
	var bad []error
	for _, dir := range folders() {
		names, err := filepath.Glob(filepath.Join(dir, socketPrefix+"*"+socketSuffix))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			s, err := ask(name)
			switch {
			case err == nil:
				all = append(all, s)
			case gone(err):
				os.Remove(name) // of a process that died
			default:
				bad = append(bad, fmt.Errorf("%s: %w", strings.TrimSuffix(filepath.Base(name), socketSuffix), err))
			}
		}
	}
	slices.SortFunc(all, func(a, b Status) int { return a.PID - b.PID })
	return all, errors.Join(bad...)
}

func ask(path string) (s Status, err error) {
	c, err := net.DialTimeout("unix", path, askTimeout)
	if err != nil {
		return s, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return s, err
	}
	return s, json.NewDecoder(io.LimitReader(c, maxStatus)).Decode(&s)
}
