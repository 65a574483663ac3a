package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// trace is what a virtual machine read while it booted.
type trace struct {
	// Image is the path of the disk, Size its size in bytes.
	Image string        `json:"image"`
	Size  int64         `json:"size"`
	Reads []tracedRead  `json:"reads"` // in the order in which they began
	Took  time.Duration `json:"took"`
}

// tracedRead is one read of the machine. It may have depended on any read that had ended before it began.
type tracedRead struct {
	Offset int64 `json:"offset"`
	Length int   `json:"length"`
	After  []int `json:"after"` // indexes of the reads that ended since the one before it began
}

var (
	readBegins = regexp.MustCompile(`^(\S+ \S+) connection=(\d+) Read id=(\d+) offset=0x([0-9a-f]+) count=0x([0-9a-f]+)`)
	readEnds   = regexp.MustCompile(`^(\S+ \S+) connection=(\d+) \.\.\.Read id=(\d+) return=0`)
)

// maxTracedRead bounds one read of a trace, in bytes.
const maxTracedRead = 32 << 20

// parseTrace reads what nbdkit's log filter wrote.
func parseTrace(log io.Reader) (*trace, error) {
	t := &trace{}
	running := map[string]int{} // connection and id -> index
	var (
		ended       []int
		first, last time.Time
	)
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if m := readBegins.FindStringSubmatch(lines.Text()); m != nil {
			offset, err1 := strconv.ParseInt(m[4], 16, 64)
			length, err2 := strconv.ParseInt(m[5], 16, 64)
			when, err3 := time.Parse("2006-01-02 15:04:05.999999", m[1])
			if err := errors.Join(err1, err2, err3); err != nil || length > maxTracedRead {
				return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
			}
			if first.IsZero() {
				first = when
			}
			last = when
			running[m[2]+"/"+m[3]] = len(t.Reads)
			t.Reads = append(t.Reads, tracedRead{offset, int(length), ended})
			ended = nil
		} else if m := readEnds.FindStringSubmatch(lines.Text()); m != nil {
			if i, ok := running[m[2]+"/"+m[3]]; ok {
				ended = append(ended, i)
				delete(running, m[2]+"/"+m[3])
			}
		}
	}
	if len(t.Reads) == 0 {
		return nil, errors.Join(errors.New("the log holds no reads"), lines.Err())
	}
	t.Took = last.Sub(first)
	return t, lines.Err()
}

func loadTrace(path string) (*trace, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &trace{}
	return t, json.Unmarshal(b, t)
}

func (t *trace) save(path string) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// bytes is the number of bytes that the trace reads, repeated ones included.
func (t *trace) bytes() (n int64) {
	for _, r := range t.Reads {
		n += int64(r.Length)
	}
	return n
}

// replay reads what the trace read, each read as soon as all those have ended that had ended before it began
// in the machine, and returns how long it took. The machine's own time between two reads is left out.
func replay(t *trace, addr string) (time.Duration, error) {
	c, err := dial(addr, "")
	if err != nil {
		return 0, err
	}
	defer c.close()
	if c.size < t.Size {
		return 0, fmt.Errorf("the disk at %s has %d bytes, the trace was made on one of %d", addr, c.size, t.Size)
	}
	begun := make([]*read, len(t.Reads))
	begin := time.Now()
	for i, r := range t.Reads {
		for _, before := range r.After {
			if err := <-begun[before].done; err != nil {
				return 0, err
			}
			begun[before] = nil
		}
		if begun[i], err = c.begin(make([]byte, r.Length), r.Offset); err != nil {
			return 0, err
		}
	}
	for _, r := range slices.DeleteFunc(begun, func(r *read) bool { return r == nil }) {
		if err := <-r.done; err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}
