package vdisk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStreamIsImportedUpToItsEnd(t *testing.T) {
	disk := image(73, 3<<20)
	r, w := io.Pipe()
	go func() { // ends with the copy, which ends when Import has read it
		_, err := io.Copy(w, bytes.NewReader(disk))
		w.CloseWithError(err)
	}()
	o := importOptions("-", t.TempDir())
	o.Name, o.Input = "piped", r
	res, err := Import(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	same(t, res.Path, disk)
	o.Name, o.Input = "broken", io.MultiReader(bytes.NewReader(disk), brokenReader{})
	if _, err := Import(context.Background(), o); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a stream that breaks: %v", err)
	}
	if all, _ := os.ReadDir(o.Into); len(all) != 1 {
		t.Errorf("left: %v", all)
	}
}

// ended is a stream that is interrupted some time after its end was read: Ctrl-C has ended its producer, and its own
// signal is on the way.
type ended struct {
	io.Reader
	after     time.Duration
	interrupt context.CancelFunc
}

func (e *ended) Read(b []byte) (int, error) {
	n, err := e.Reader.Read(b)
	if err == io.EOF {
		time.AfterFunc(e.after, e.interrupt)
	}
	return n, err
}

// Ctrl-C goes to both ends of a pipe, and the end of the producer is often seen first: what came until then is not the
// disk.
func TestAnInterruptThatFollowsTheEndOfAStreamLeavesNothing(t *testing.T) {
	for _, after := range []time.Duration{0, time.Microsecond, endGrace - time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := importOptions("-", t.TempDir())
			o.Name, o.Input = "cut", &ended{bytes.NewReader(image(73, 3<<20)), after, cancel}
			if _, err := Import(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("interrupted %v after the end: %v", after, err)
			}
			if all, _ := os.ReadDir(o.Into); len(all) != 0 {
				t.Errorf("interrupted %v after the end, left: %v", after, all)
			}
		})
	}
}

// A producer that is silent does not keep an import from being interrupted.
func TestASilentStreamCanBeInterrupted(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close() // ends the read that is still under way
	ctx, cancel := context.WithCancel(t.Context())
	o := importOptions("-", t.TempDir())
	o.Name, o.Input = "silent", r
	go func() { // ends when the import has taken what it writes
		_, _ = w.Write(image(73, 1<<20))
		cancel()
	}()
	if _, err := Import(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if all, _ := os.ReadDir(o.Into); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

// An interrupt while the bytes are made durable is in time, too.
func TestAnInterruptBeforeTheNameIsGivenLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := importOptions(imageFile(t, "disk.img", image(76, 1<<20)), t.TempDir())
	o.files = interruptedSync{interrupt: cancel}
	if _, err := Import(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if all, _ := os.ReadDir(o.Into); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

type interruptedSync struct {
	system
	interrupt context.CancelFunc
}

type interruptedFile struct {
	file
	interrupt context.CancelFunc
}

func (s interruptedSync) create(dir, name string) (file, error) {
	f, err := s.system.create(dir, name)
	return interruptedFile{f, s.interrupt}, err
}

func (f interruptedFile) Sync() error {
	f.interrupt()
	return f.file.Sync()
}

// A pipe cannot tell whether its producer was done. Whoever knows the size is told, and nothing is imported.
func TestADiskOfAnotherSizeThanExpectedIsNotImported(t *testing.T) {
	disk := image(74, 1<<20)
	for _, c := range []struct {
		size int64
		want string
	}{
		{1<<20 + 1, "the stream ended after 1048576 of 1048577 bytes"},
		{1<<20 - 1, "goes on after the 1048575 bytes"},
		{1 << 20, ""},
	} {
		for _, source := range []string{"-", imageFile(t, "disk.img", disk)} {
			o := importOptions(source, t.TempDir())
			o.Name, o.Input, o.Size = "sized", bytes.NewReader(disk), c.size
			_, err := Import(t.Context(), o)
			all, _ := os.ReadDir(o.Into)
			switch {
			case c.want == "" && (err != nil || len(all) != 1):
				t.Errorf("%s of the right size: %v", source, err)
			case c.want != "" && (!errors.Is(err, ErrOtherSize) || len(all) != 0):
				t.Errorf("%s of another size: %v, left %v", source, err, all)
			case c.want != "" && source == "-" && !strings.Contains(err.Error(), c.want):
				t.Errorf("does not say %q: %v", c.want, err)
			}
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, syscall.ECONNRESET }
