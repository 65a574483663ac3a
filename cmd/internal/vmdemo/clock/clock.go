package clock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// between two reads the machine does something else: it is emulated, and slow.
	between = 50 * time.Millisecond
	// page is what direct reads are aligned to, in memory and on the disk.
	page = 4096
	// shown at most of an error, in bytes.
	shown = 60
)

// Clock reads, writes and prints.
type Clock struct {
	Blocks  string    // path of the file with the blocks
	Diary   string    // path of the file that lines are written to
	Console io.Writer // where the lines go

	reads, wrong, failed atomic.Int64
	written, kept        atomic.Int64
	slowest              atomic.Int64 // read since the last line, in nanoseconds
	since                atomic.Int64 // when the read began that is under way, in nanoseconds since 1970; 0: none is
}

// Run runs until ctx ends.
func (c *Clock) Run(ctx context.Context) error {
	blocks, err := os.OpenFile(c.Blocks, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer blocks.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { c.read(ctx, blocks); return nil })
	group.Go(func() error { return c.write(ctx) })
	group.Go(func() error { return c.tell(ctx) })
	return group.Wait()
}

// read reads block after block and compares.
func (c *Clock) read(ctx context.Context, blocks io.ReaderAt) {
	got, want := aligned(BlockSize), make([]byte, BlockSize)
	// A clock that was stopped and started does not begin with what the target still has.
	for i := rand.IntN(Blocks); wait(ctx, between); i++ {
		number := order(i)
		begin := time.Now()
		c.since.Store(begin.UnixNano())
		_, err := blocks.ReadAt(got, int64(number)*BlockSize)
		c.since.Store(0)
		took := time.Since(begin)
		if int64(took) > c.slowest.Load() {
			c.slowest.Store(int64(took)) // a line that is printed just now may lose it, or have it twice
		}
		c.reads.Add(1)
		Fill(want, number)
		switch {
		case err != nil:
			c.failed.Add(1)
			c.say(fmt.Sprintf("reading block %d: %.*s", number, shown, err.Error()))
		case !bytes.Equal(got, want):
			c.wrong.Add(1)
			c.say(fmt.Sprintf("block %d is not what it should be", number))
		}
	}
}

// write writes a line into the diary each second, and reads back past the caches what is there.
func (c *Clock) write(ctx context.Context) error {
	f, err := os.OpenFile(c.Diary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	direct, err := os.OpenFile(c.Diary, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer direct.Close()
	buf := aligned(page)
	var all []byte // since the last whole page
	var at int64   // where all begins in the file
	for n := int64(1); wait(ctx, time.Second); n++ {
		line := fmt.Sprintf("%s line %d\n", time.Now().Format(time.RFC3339Nano), n)
		all = append(all, line...)
		if err := put(f, line); err != nil {
			c.failed.Add(1)
			c.say(fmt.Sprintf("writing line %d: %.*s", n, shown, err.Error()))
			return nil // what is on the disk now cannot be known
		}
		c.written.Store(n)
		last := int64(len(all)-1) / page * page // the page that the line ends in
		got, err := direct.ReadAt(buf, at+last)
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			c.failed.Add(1)
			c.say(fmt.Sprintf("reading line %d back: %.*s", n, shown, err.Error()))
		case !bytes.Equal(buf[:got], all[last:]):
			c.wrong.Add(1)
			c.say(fmt.Sprintf("line %d is not what was written", n))
		default:
			c.kept.Add(1)
		}
		all, at = all[last:], at+last
	}
	return nil
}

// put appends a line so that it is on the disk.
func put(f *os.File, line string) error {
	if _, err := f.WriteString(line); err != nil {
		return err
	}
	return f.Sync()
}

// tell prints a line each second.
func (c *Clock) tell(ctx context.Context) error {
	before := Report{}
	for wait(ctx, time.Until(time.Now().Truncate(time.Second).Add(time.Second))) {
		now := time.Now()
		r := Report{
			Time: now.Format(time.TimeOnly), Slowest: time.Duration(c.slowest.Swap(0)),
			Reads: c.reads.Load(), Wrong: c.wrong.Load(), Failed: c.failed.Load(), Written: c.written.Load(), Kept: c.kept.Load(),
		}
		if since := c.since.Load(); since != 0 && now.UnixNano()-since > int64(r.Slowest) {
			r.Slowest = time.Duration(now.UnixNano() - since)
		}
		r.New = r.Reads - before.Reads
		before = r
		c.say(r.String())
	}
	return nil
}

// say prints a line over whatever stands in the console's last one, such as a prompt. Nobody can be told of a console that fails.
func (c *Clock) say(line string) { _, _ = io.WriteString(c.Console, "\r"+line+"\x1b[K\r\n") }

// wait tells after a while whether to go on.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// aligned makes a buffer that begins at a page.
func aligned(n int) []byte {
	b := make([]byte, n+page)
	skip := page - int(uintptr(unsafe.Pointer(&b[0]))%page)
	return b[skip : skip+n]
}
