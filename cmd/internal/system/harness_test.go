//go:build system || timed

package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/nbd"
	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/testdisk"
)

// bin is the folder of the programs, built for this run.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "system")
		if err == nil {
			defer os.RemoveAll(dir)
			bin = filepath.Join(dir, "bin")
			os.Chmod(dir, 0o755) // a test runs a program as another user
			err = lab.Programs(context.Background(), bin)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// patience is how long a test waits for what takes a moment.
const patience = 30 * time.Second

// soon ends with the test, or when patience does.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("not within %s", patience))
	t.Cleanup(cancel)
	return ctx
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// need skips the test when a program is missing.
func need(t testing.TB, tool, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is missing; install the Debian package %s", tool, pkg)
	}
}

// folder is a short path, because sockets lie there.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sys")
	ok(t, err)
	ok(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// diskSize is that of the disk that most tests serve. What is stored of it is more than the cache of a target, so that
// who reads it over and over needs a server all the time.
const diskSize = 192 << 20

// image is the file of one vDisk, named lab.VDisk, that all tests copy.
var image = sync.OnceValues(func() (string, error) {
	return lab.MakeStore(context.Background(), filepath.Join(filepath.Dir(bin), "image"), lab.VDisk, diskSize)
})

// newFarm makes a farm whose servers hold identical replicas, and ends it with the test.
func newFarm(t testing.TB, o lab.Options) *lab.Farm {
	t.Helper()
	file, err := image()
	ok(t, err)
	o.Dir, o.Bin = folder(t), bin
	f, err := lab.NewFarm(o)
	ok(t, err)
	ok(t, f.Fill(file))
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, s := range f.Servers {
				if s.Process != nil {
					t.Logf("%s:\n%s%s", s.Name, s.Out, s.Log)
				}
			}
		}
	})
	return f
}

// startFarm is newFarm, started.
func startFarm(t testing.TB, o lab.Options) *lab.Farm {
	t.Helper()
	f := newFarm(t, o)
	ok(t, f.Start(soon(t)))
	return f
}

// attach starts a target and ends it with the test.
func attach(t testing.TB, f *lab.Farm, name string, flags ...string) *lab.Target {
	t.Helper()
	target, err := f.Attach(soon(t), name, flags...)
	ok(t, err)
	t.Cleanup(func() {
		if err := target.End(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s:\n%s%s", name, target.Out, target.Log)
		}
	})
	return target
}

// open connects to a target's disk.
func open(t testing.TB, target *lab.Target) *nbd.Client {
	t.Helper()
	d, err := nbd.Open(t.Context(), "unix:"+target.Socket)
	ok(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// writeImage makes a file of the test disk.
func writeImage(t testing.TB, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	ok(t, err)
	_, err = io.Copy(f, testdisk.Reader(size))
	ok(t, errors.Join(err, f.Close()))
}

// start starts a program and ends it with the test.
func start(t testing.TB, s lab.Spawn) *lab.Process {
	t.Helper()
	p, err := s.Start()
	ok(t, err)
	t.Cleanup(func() {
		if err := p.End(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s:\n%s%s", s.Name, p.Out, p.Log)
		}
	})
	return p
}

// program is the path of one of our programs.
func program(name string) string { return filepath.Join(bin, name) }

// await waits for a line on standard output.
func await(t testing.TB, p *lab.Process, what string) string {
	t.Helper()
	line, err := p.Await(soon(t), what)
	ok(t, err)
	return line
}

// logged waits for a line on standard error.
func logged(t testing.TB, p *lab.Process, what string) string {
	t.Helper()
	line, err := p.Log.Await(soon(t), what)
	if err != nil {
		t.Fatalf("%s did not log %q: %v\n%s", p.Name, what, err, p.Log)
	}
	return line
}

// eventually looks again and again until what is asked for is so.
func eventually(t testing.TB, what string, look func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !look(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// busyReader reads a disk all the time, from end to end and over again, and compares each byte.
type busyReader struct {
	t    testing.TB
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	bytes   int64         // guarded by mu
	longest time.Duration // guarded by mu
}

// readAllTheTime starts a reader of a target's disk. Errors and wrong bytes fail the test.
func readAllTheTime(t testing.TB, target *lab.Target) *busyReader {
	t.Helper()
	disk := open(t, target)
	ctx, stop := context.WithCancel(context.Background())
	r := &busyReader{t: t, stop: stop, done: make(chan struct{})}
	go r.run(ctx, disk) // ended by end
	t.Cleanup(func() {
		stop() // before it sees that the disk is closed
		disk.Close()
		<-r.done
	})
	return r
}

func (r *busyReader) run(ctx context.Context, disk *nbd.Client) {
	defer close(r.done)
	var check testdisk.Checker
	buf := make([]byte, 64<<10)
	for off := int64(0); ctx.Err() == nil; off = (off + int64(len(buf))) % disk.Size() {
		n := min(int64(len(buf)), disk.Size()-off)
		begin := time.Now()
		if err := disk.ReadAt(ctx, buf[:n], off); err != nil {
			if ctx.Err() == nil {
				r.t.Errorf("%d bytes at %d: %v", n, off, err)
			}
			return
		}
		if wrong := check.Wrong(buf[:n], off); wrong > 0 {
			r.t.Errorf("%d bytes at %d: %d blocks are wrong", n, off, wrong)
			return
		}
		r.mu.Lock()
		r.bytes += n
		r.longest = max(r.longest, time.Since(begin))
		r.mu.Unlock()
	}
}

// read is how many bytes have been read.
func (r *busyReader) read() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

// goesOn waits until the whole disk has been read once more.
func (r *busyReader) goesOn() {
	r.t.Helper()
	goal := r.read() + diskSize
	eventually(r.t, "the disk is read once more", func() bool {
		select {
		case <-r.done:
			r.t.Fatal("the reader has ended")
		default:
		}
		return r.read() >= goal
	})
}

// end ends the reader and tells its longest read.
func (r *busyReader) end() time.Duration {
	r.stop()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.longest
}
