package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spate-project/spate/vdisk"
)

// spated is a server of Spate that serves the store of the benchmark.
type spated struct {
	*child
	b    *bench
	w    where
	addr string // of the stream service
	key  string // public key of the farm
}

func (b *bench) store() string { return filepath.Join(b.dir, "store") }

// importImage brings an image into the store, unless the store has it already as it would be imported now, and notes
// what it takes there.
func (b *bench) importImage(ctx context.Context, i *image) error {
	if err := os.MkdirAll(b.store(), 0o755); err != nil {
		return err
	}
	path := b.sealed(i)
	if stale(path, i.path) || !usual(path) {
		_ = os.Remove(path) // of an older image, or of older defaults; the import refuses a name that is still taken
		out, err := command(ctx, "", filepath.Join(b.build, "spate"), "vdisk", "import", i.path, "--into", b.store(), "--name", i.name)
		if err != nil {
			return err
		}
		rows := strings.Split(strings.TrimSpace(out), "\n")
		fmt.Println("imported:", rows[len(rows)-1])
	}
	v, err := vdisk.Open(path)
	if err != nil {
		return err
	}
	defer v.Close()
	i.stored = v.Info().Stored
	return nil
}

// sealed is the file in the store that an image is imported to.
func (b *bench) sealed(i *image) string { return filepath.Join(b.store(), vdisk.FileName(i.name, 0)) }

// usual tells whether a vDisk has the chunk size and the codec that an import without options gives it: all rows are
// about one set of defaults.
func usual(path string) bool {
	v, err := vdisk.Open(path)
	if err != nil {
		return false
	}
	defer v.Close()
	return v.Shape().ChunkSize == vdisk.DefaultChunkSize && v.Info().Codec == vdisk.DefaultCodec
}

// stale tells whether a file is missing or older than what it was made from.
func stale(path, source string) bool {
	a, err := os.Stat(path)
	if err != nil {
		return true
	}
	b, err := os.Stat(source)
	return err != nil || a.ModTime().Before(b.ModTime())
}

var attachLine = regexp.MustCompile(`--farm-key (\S+)`)

// serve starts spated on the store.
func (b *bench) serve(ctx context.Context, w where) (*spated, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &spated{b: b, w: w, addr: fmt.Sprintf("%s:%d", w.addr, port)}
	state := filepath.Join(b.dir, "state")
	s.child, err = startServer(w.server, filepath.Join(b.build, "spated"), "--store", b.store(), "--listen", s.addr, "--state", state)
	if err != nil {
		return nil, err
	}
	ready := func() bool { return strings.Contains("\n"+s.out.text()+"\n", "\nready\n") }
	if err := s.wait(ctx, "ready", ready); err != nil {
		s.close()
		return nil, err
	}
	m := attachLine.FindStringSubmatch(s.out.text())
	if m == nil {
		s.close()
		return nil, errors.New("spated printed no line with --farm-key: " + s.out.text())
	}
	s.key = m[1]
	return s, nil
}

func (s *spated) login(vdisk string) []string {
	return []string{"--server", s.addr, "--farm-key", s.key, "--vdisk", vdisk}
}

// reader reads a whole vDisk with spate-target and throws it away.
func (s *spated) reader(vdisk string) func(context.Context) error {
	return func(ctx context.Context) error {
		args := append([]string{"read", "--discard"}, s.login(vdisk)...)
		_, err := command(ctx, s.w.client, filepath.Join(s.b.build, "spate-target"), args...)
		return err
	}
}

// attach starts spate-target with the vDisk behind an NBD socket.
func (s *spated) attach(ctx context.Context, vdisk, name string) (*child, string, error) {
	socket := filepath.Join(s.b.dir, name+".sock")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", err
	}
	args := append([]string{"attach", "--nbd-socket", socket, "--write-cache", "none"}, s.login(vdisk)...)
	c, err := start(s.w.client, filepath.Join(s.b.build, "spate-target"), args...)
	if err != nil {
		return nil, "", err
	}
	if err := c.wait(ctx, "attached", func() bool { return present(socket) }); err != nil {
		c.close()
		return nil, "", err
	}
	return c, socket, nil
}

// socketURI is how the tools of libnbd name an NBD server on a unix socket.
func socketURI(socket string) string { return "nbd+unix:///?socket=" + socket }
