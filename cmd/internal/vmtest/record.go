package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/bootreplay"
)

// recordedCache is room for what a recorded machine writes, in bytes.
const recordedCache = 512 << 20

// RecordBoot boots a machine from a local disk and returns what it has asked of it: until its init runs, or, when rounds is
// not 0, until it has done so many rounds of work and powered off. It waits for its turn as Start does.
func RecordBoot(ctx context.Context, rounds int) (r *bootreplay.Recording, f Files, err error) {
	if f, err = Prepare(ctx); err != nil {
		return nil, f, err
	}
	base, err := openImage(f.Root)
	if err != nil {
		return nil, f, err
	}
	defer base.Close()
	cache, err := blockdev.NewWriteCache(base, recordedCache, nil)
	if err != nil {
		return nil, f, err
	}
	defer cache.Close()
	recorder := bootreplay.NewRecorder(cache)
	err = serve(ctx, recorder, func(socket string) error {
		_, err := boot(ctx, f, socket, rounds)
		return err
	})
	if err != nil {
		return nil, f, fmt.Errorf("record a boot: %w", err)
	}
	r, err = recorder.Recording()
	return r, f, err
}

// boot runs a machine until its init runs, or, when rounds is not 0, until it has done its work and powered off. It returns
// how long that took from power-on.
func boot(ctx context.Context, f Files, socket string, rounds int) (took time.Duration, err error) {
	m, err := Start(ctx, f, socket, Options{Rounds: rounds})
	if err != nil {
		return 0, err
	}
	defer m.Kill()
	if rounds > 0 {
		err = m.AwaitDone(ctx)
	} else {
		_, err = m.AwaitMark(ctx, "init ")
	}
	return m.Uptime(), err
}

// serve shows d on a socket for as long as use takes.
func serve(ctx context.Context, d blockdev.Device, use func(socket string) error) error {
	dir, err := os.MkdirTemp("", "vm") // short, for the socket
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "nbd")
	listener, err := blockdev.Listen(socket)
	if err != nil {
		return err
	}
	server, err := blockdev.NewServer(d, blockdev.Options{})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- server.Serve(serving, listener) }() // ends with serving
	err = use(socket)
	cancel()
	return errors.Join(err, <-ended)
}

// image is a Device in a file that nobody writes to.
type image struct {
	*os.File
	size int64
}

func openImage(path string) (image, error) {
	f, err := os.Open(path)
	if err != nil {
		return image{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return image{}, errors.Join(err, f.Close())
	}
	return image{f, info.Size()}, nil
}

// Size implements blockdev.Device.
func (i image) Size() int64 { return i.size }

// BlockSizes implements blockdev.Device.
func (i image) BlockSizes() blockdev.BlockSizes {
	return blockdev.BlockSizes{Minimum: 1, Preferred: 4096}
}

// ReadOnly implements blockdev.Device.
func (i image) ReadOnly() bool { return true }

// ReadAt implements blockdev.Device.
func (i image) ReadAt(_ context.Context, p []byte, off int64) error {
	_, err := i.File.ReadAt(p, off)
	return err
}

// WriteAt implements blockdev.Device.
func (i image) WriteAt(context.Context, []byte, int64) error { return blockdev.ErrReadOnly }

// Trim implements blockdev.Device.
func (i image) Trim(context.Context, int64, int64) error { return blockdev.ErrReadOnly }

// WriteZeroes implements blockdev.Device.
func (i image) WriteZeroes(context.Context, int64, int64) error { return blockdev.ErrReadOnly }

// Flush implements blockdev.Device.
func (i image) Flush(context.Context) error { return nil }
