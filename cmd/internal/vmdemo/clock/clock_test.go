package clock

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Every block is read once before any is read again, so that nothing comes from a cache.
func TestEveryBlockIsReadBeforeAnyIsReadAgain(t *testing.T) {
	seen := map[int]bool{}
	for i := range Blocks {
		seen[order(i+Blocks/3)] = true
	}
	if len(seen) != Blocks {
		t.Errorf("%d blocks of %d were read", len(seen), Blocks)
	}
}

// A block that lies in another's place, or a byte that has changed, is seen.
func TestNoTwoBlocksAreAlike(t *testing.T) {
	seen := map[string]int{}
	b := make([]byte, BlockSize)
	for i := range Blocks {
		Fill(b, i)
		if other, ok := seen[string(b[:64])]; ok {
			t.Fatalf("blocks %d and %d begin alike", i, other)
		}
		seen[string(b[:64])] = i
	}
}

// disk is one whose reads take a while; some are wrong, or fail.
type disk struct {
	reads       int
	wrong, fail int // every so many reads
	takes       time.Duration
}

var errBroken = errors.New("input/output error")

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.reads++
	time.Sleep(d.takes)
	Fill(p, int(off/BlockSize))
	if d.wrong > 0 && d.reads%d.wrong == 0 {
		p[len(p)/2] ^= 1
	}
	if d.fail > 0 && d.reads%d.fail == 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// console is written to by several goroutines, as the real one is.
type console struct {
	mu sync.Mutex // guards Buffer
	bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Buffer.Write(p)
}

// WriteString hides that of Buffer, which takes no lock.
func (c *console) WriteString(s string) (int, error) { return c.Write([]byte(s)) }

// run lets a clock read from d for a while, and returns what it says and its last report.
func run(t *testing.T, d *disk, long time.Duration) (said string, last Report) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		var out console
		c := &Clock{Console: &out}
		read := make(chan struct{})
		go func() { // ends with ctx
			defer close(read)
			c.read(ctx, d)
		}()
		if err := c.tell(ctx); err != nil {
			t.Error(err)
		}
		<-read
		said = out.String()
	})
	for line := range strings.Lines(said) {
		if r, ok := Parse(line); ok {
			last = r
		}
	}
	return said, last
}

func TestTheClockCountsWrongBytesAndFailuresAndSaysThem(t *testing.T) {
	said, last := run(t, &disk{wrong: 10, fail: 25, takes: 3 * time.Millisecond}, 10*time.Second)
	if last.Reads < 150 || last.Wrong == 0 || last.Failed == 0 {
		t.Errorf("it counts %+v", last)
	}
	if !strings.Contains(said, "is not what it should be") || !strings.Contains(said, errBroken.Error()) {
		t.Errorf("it says:\n%s", said)
	}
}

func TestAGoodDiskIsCalledGood(t *testing.T) {
	_, last := run(t, &disk{takes: 7 * time.Millisecond}, 10*time.Second)
	if last.Reads < 150 || last.New < 15 || last.Wrong+last.Failed != 0 || last.Slowest != 7*time.Millisecond {
		t.Errorf("it says %+v", last)
	}
}

// A read that does not end shows on each line, longer each time, and the time goes on.
func TestAReadThatWaitsIsSeenWhileItWaits(t *testing.T) {
	said, last := run(t, &disk{takes: 6 * time.Second}, 5*time.Second+time.Millisecond)
	if strings.Count(said, "\n") < 4 || last.Slowest < 3*time.Second || last.Reads != 0 {
		t.Errorf("it says:\n%s", said)
	}
}

// What the clock prints can be read from a console where other things stand before and behind it.
func TestAReportIsReadBackFromALineOfAConsole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		n := func() int64 { return r.Int64N(1 << r.IntN(62)) }
		want := Report{"23:59:01", n(), time.Duration(r.IntN(1e6)) * time.Millisecond, n(), n(), n(), n(), n()}
		got, ok := Parse("netbooted login: " + want.String() + " ")
		if !ok || got != want {
			t.Fatalf("%+v was read as %+v, %v", want, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("07:12:01  12 blocks read, slowest 19 ms; of 12: 0 wrong, 0 failed; diary 0/0")
	f.Add("07:12:01  12 blocks read, slowest 99999999999999999999 ms; of 12: 0 wrong, 0 failed; diary 0/0")
	f.Add("00000000  0 blocks read, slowest 9227000000000 ms; of 0: 0 wrong, 0 failed; diary 0/0")
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := Parse(text)
		if !ok {
			return
		}
		if again, ok := Parse(r.String()); !ok || again != r {
			t.Errorf("%q is %+v, which is %+v when it is read again", text, r, again)
		}
	})
}
