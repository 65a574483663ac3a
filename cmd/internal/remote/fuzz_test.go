package remote

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/engine"
	"github.com/spate-project/spate/vdisk/tree"
)

// hostile is a Fetcher that does with answers what a script says: each byte is a decision.
type hostile struct {
	image *image
	todo  chan *engine.Fetch

	mu     sync.Mutex
	script []byte // guarded by mu
}

// decide takes the next decision; 0, an honest answer, when the script is over.
func (h *hostile) decide() byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.script) == 0 {
		return 0
	}
	b := h.script[0]
	h.script = h.script[1:]
	return b
}

func (h *hostile) Fetch(list ...*engine.Fetch) (int, error) {
	for i, f := range list {
		switch h.decide() {
		case 200:
			return i, engine.ErrTooMany
		case 201: // from inside the call
			h.image.answer(f)
			f.Owner.(stream.Receiver).Fetched(f)
		default:
			h.todo <- f
		}
	}
	return len(list), nil
}

func (h *hostile) Urge(*engine.Fetch) {}

func (h *hostile) Reject(f *engine.Fetch, _ uint8, _ int64) error {
	if h.decide() == 202 {
		return engine.ErrClosed
	}
	h.todo <- f
	return nil
}

func (h *hostile) run() {
	for f := range h.todo {
		h.image.answer(f)
		switch d := h.decide(); {
		case d < 64:
		case d < 80:
			f.Total = 0
		case d < 96:
			f.Total = int(d) - 90
		case d < 112:
			f.Total = len(f.Buf) + int(d) - 100
		case d < 128: // of another place
			other := *f
			other.First = (f.First + 1) % h.image.shape.Count(int(f.Level))
			other.Count = 1
			h.image.answer(&other)
			f.Total = other.Total
		case d < 144:
			f.Err = engine.ErrNoGoodCopy
		case d < 150:
			f.Err = engine.ErrNoServer
		case d < 180 && f.Total > 0:
			f.Buf[int(d)%f.Total] ^= 1 << (d & 7)
		case d < 190:
			for i := range f.Buf {
				f.Buf[i] = d + byte(i)
			}
			f.Total = len(f.Buf)
		}
		f.Owner.(stream.Receiver).Fetched(f)
	}
}

// Whatever comes from outside, in whatever order: no panic, no read without an end, and no read that succeeds with wrong
// bytes.
func FuzzDiskAgainstHostileServers(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	f.Add([]byte{}, uint8(0))
	f.Add([]byte{0, 70, 0, 90, 0, 105, 0, 120, 0, 130, 0, 148, 0, 170, 0, 185}, uint8(1))
	f.Add([]byte{201, 0, 200, 0, 170, 202, 120, 120, 0, 120, 0, 130}, uint8(2))
	f.Add(bytes.Repeat([]byte{0, 155}, 300), uint8(2))
	images := []*image{
		newImage(f, contents(rng, 3*4096+512, 0.2), 4096, tree.CodecZstdFast),
		newImage(f, contents(rng, 150*4096, 0.3), 4096, tree.CodecS2),
		newImage(f, contents(rng, 4200*4096, 0.7), 4096, tree.CodecNone),
	}
	f.Fuzz(func(t *testing.T, script []byte, which uint8) {
		im := images[int(which)%len(images)]
		h := &hostile{image: im, todo: make(chan *engine.Fetch, engine.MaxFetches), script: script}
		var serving, readers sync.WaitGroup
		serving.Go(h.run)
		d, err := Open(im.disk(), h, Options{FlightBytes: 1 << 20, CacheBytes: 1, DecodedBytes: 1, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() { readHostile(t, d, im, uint64(len(script))) })
		readers.Go(func() {
			err := d.Stream(context.Background(), 0, im.shape.Size, Sink{Data: func(p []byte, off int64) error {
				if !bytes.Equal(p, im.data[off:off+int64(len(p))]) {
					t.Errorf("wrong bytes at %d", off)
				}
				return nil
			}})
			checkReason(t, err)
		})
		readers.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		close(h.todo)
		serving.Wait()
	})
}

func readHostile(t *testing.T, d *Disk, im *image, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	p := make([]byte, 64<<10)
	for range 40 {
		off := rng.Int64N(im.shape.Size)
		q := p[:min(im.shape.Size-off, 1+rng.Int64N(int64(len(p))))]
		err := d.ReadAt(context.Background(), q, off)
		if err == nil && !bytes.Equal(q, im.data[off:off+int64(len(q))]) {
			t.Errorf("wrong bytes in %d at %d", len(q), off)
		}
		checkReason(t, err)
		_, _, err = d.Extent(context.Background(), off, int64(len(q)))
		checkReason(t, err)
	}
}

// checkReason: a read that fails says what and why.
func checkReason(t *testing.T, err error) {
	var re *ReadError
	if err != nil && !errors.As(err, &re) {
		t.Errorf("an error without an object: %v", err)
	}
}
