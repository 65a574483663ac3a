package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/blockdev"
)

// progress says how far a read is: a line that is rewritten on a terminal, a
// line every 10 s elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	total    int64
	done     int64
	start    time.Time
	next     time.Time
}

func newProgress(out io.Writer, total int64) *progress {
	p := &progress{out: out, total: total, start: time.Now()}
	if f, ok := out.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		p.terminal = err == nil
	}
	p.next = p.start.Add(p.every())
	return p
}

func (p *progress) every() time.Duration {
	if p.terminal {
		return 200 * time.Millisecond
	}
	return 10 * time.Second
}

func (p *progress) add(n int64) {
	p.done += n
	if now := time.Now(); now.After(p.next) {
		p.next = now.Add(p.every())
		p.print(now)
	}
}

func (p *progress) print(now time.Time) {
	rate := float64(p.done) / 1e6 / now.Sub(p.start).Seconds()
	line := fmt.Sprintf("%3d %%  %d of %d MiB  %.0f MB/s", 100*p.done/max(p.total, 1), p.done>>20, p.total>>20, rate)
	if p.terminal {
		fmt.Fprintf(p.out, "\r%s\x1b[K", line)
	} else {
		fmt.Fprintln(p.out, line)
	}
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// noticeText is what the write cache has to say, as a line.
func noticeText(n blockdev.Notice) string {
	clock := time.Now().Format("15:04:05")
	if n.Full {
		return fmt.Sprintf("%s write cache is full (%d MiB): writes wait until something is deleted", clock, n.Max>>20)
	}
	return fmt.Sprintf("%s write cache has room again: %d of %d MiB used", clock, n.Used>>20, n.Max>>20)
}
