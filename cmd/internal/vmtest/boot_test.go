//go:build system

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/bootreplay"
	"github.com/spate-project/spate/cmd/internal/nbd"
)

// A boot that was recorded of a machine on a local disk is what a machine would ask of a farm: replayed through the NBD
// socket of a target, every read brings the bytes of the image.
func TestARecordedBootIsReplayedFromAFarm(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	Need(t)
	recorded, files, err := RecordBoot(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "boot.json")
	if err := recorded.Save(path); err != nil {
		t.Fatal(err)
	}
	if recorded, err = bootreplay.Load(path); err != nil {
		t.Fatal(err)
	}
	s := recorded.Stats()
	t.Log(s)
	if s.Replayed < 500 || s.Distinct < partBytes || s.Writes < 10 {
		t.Errorf("that is no boot with a round of work: %+v", s)
	}
	local := open(t, files.Root)
	check := func(p []byte, off int64) error {
		want := make([]byte, len(p))
		if err := local.ReadAt(ctx, want, off); err != nil {
			return err
		}
		if !bytes.Equal(p, want) {
			return fmt.Errorf("%d bytes at %d are not those of the image", len(p), off)
		}
		return nil
	}
	disk, err := nbd.Open(ctx, "unix:"+attach(ctx, t, newFarm(ctx, t)).Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if disk.Size() != recorded.Size {
		t.Errorf("the disk has %d bytes, the recorded one had %d", disk.Size(), recorded.Size)
	}
	for _, what := range []string{"first", "cached"} {
		got, err := bootreplay.Replay(ctx, recorded, disk, bootreplay.Options{Check: check})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %+v", what, got)
		if got.Reads != s.Replayed {
			t.Errorf("%d reads of %d", got.Reads, s.Replayed)
		}
	}
}

// Power-on to init, in turn on a local image behind our NBD server and on a vDisk of a farm on loopback that the target
// knows nothing of yet.
func BenchmarkBoot(b *testing.B) {
	files := Fixture(b)
	local, err := openImage(files.Root)
	if err != nil {
		b.Fatal(err)
	}
	defer local.Close()
	f := newFarm(b.Context(), b)
	var onImage, onFarm time.Duration
	for b.Loop() {
		cache, err := blockdev.NewWriteCache(local, recordedCache, nil)
		if err != nil {
			b.Fatal(err)
		}
		err = serve(b.Context(), cache, func(socket string) error {
			took, err := boot(b.Context(), files, socket, 0)
			onImage += took
			return err
		})
		if err := errors.Join(err, cache.Close()); err != nil {
			b.Fatal(err)
		}
		target := attach(b.Context(), b, f)
		took, err := boot(b.Context(), files, target.Socket, 0)
		onFarm += took
		if err := errors.Join(err, target.End()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(onImage.Seconds()/float64(b.N), "s/image")
	b.ReportMetric(onFarm.Seconds()/float64(b.N), "s/farm")
}
