package bootreplay

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// maxRequests bounds a recording. A boot to a desktop takes some tens of thousands.
	maxRequests = 1 << 20
	// maxLength bounds one read, in bytes; NBD clients send 32 MiB at most.
	maxLength = 32 << 20
	// formatVersion is that of the file.
	formatVersion = 1
)

// Op is what a request asks for.
type Op string

// The operations of a disk.
const (
	Read  Op = "read"
	Write Op = "write"
	Trim  Op = "trim"
	Zero  Op = "zero"
	Flush Op = "flush"
)

// Request is one request of the machine to its disk. Offset and Length are in bytes, Begin and End since the recording
// began.
type Request struct {
	Op     Op            `json:"op"`
	Offset int64         `json:"offset"`
	Length int64         `json:"length"`
	Begin  time.Duration `json:"begin_ns"`
	End    time.Duration `json:"end_ns"`
}

// Recording is what a machine has asked of its disk.
type Recording struct {
	Version  int       `json:"version"`
	Size     int64     `json:"size"`     // of the disk, in bytes
	Requests []Request `json:"requests"` // in the order in which they began
}

// Parse reads a recording as Save writes it.
func Parse(b []byte) (*Recording, error) {
	r := &Recording{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("not a recording: %w", err)
	}
	return r, r.check()
}

// Load reads the file that Save wrote.
func Load(path string) (*Recording, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Save writes the recording into a file, which appears whole or not at all.
func (r *Recording) Save(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".recording-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// check tells whether a recording can be replayed.
func (r *Recording) check() error {
	switch {
	case r.Version != formatVersion:
		return fmt.Errorf("version %d of the recording; this program knows version %d", r.Version, formatVersion)
	case r.Size <= 0:
		return fmt.Errorf("a disk of %d bytes", r.Size)
	case len(r.Requests) > maxRequests:
		return fmt.Errorf("%d requests; at most %d are replayed", len(r.Requests), maxRequests)
	}
	last := time.Duration(0)
	for i, q := range r.Requests {
		switch {
		case q.Op != Read && q.Op != Write && q.Op != Trim && q.Op != Zero && q.Op != Flush:
			return fmt.Errorf("request %d: unknown operation %q", i, q.Op)
		case q.Offset < 0 || q.Length < 0 || q.Offset > r.Size || q.Length > r.Size-q.Offset || q.Op == Read && q.Length > maxLength:
			return fmt.Errorf("request %d: %s of %d bytes at %d on a disk of %d", i, q.Op, q.Length, q.Offset, r.Size)
		case q.Begin < last || q.End < q.Begin:
			return fmt.Errorf("request %d: began at %v and ended at %v, after one that began at %v", i, q.Begin, q.End, last)
		}
		last = q.Begin
	}
	return nil
}

// Stats describe a recording.
type Stats struct {
	Reads     int   // all of them
	ReadBytes int64 // of these
	Distinct  int64 // bytes that were read at least once
	Replayed  int   // reads that Replay issues
	Writes    int
	Together  int           // the most reads that were under way at once
	Took      time.Duration // from the begin of the first request to the end of the last
}

// Stats counts.
func (r *Recording) Stats() Stats {
	s := Stats{Replayed: len(r.plan())}
	var seen spans
	var ends []time.Duration // of the reads under way
	for _, q := range r.Requests {
		s.Took = max(s.Took, q.End-r.Requests[0].Begin)
		switch q.Op {
		case Write:
			s.Writes++
		case Read:
			s.Reads++
			s.ReadBytes += q.Length
			seen.add(q.Offset, q.Length)
			under := ends[:0]
			for _, e := range ends {
				if e > q.Begin {
					under = append(under, e)
				}
			}
			ends = append(under, q.End)
			s.Together = max(s.Together, len(ends))
		}
	}
	s.Distinct = seen.bytes()
	return s
}

// String is one line for people.
func (s Stats) String() string {
	return fmt.Sprintf("%d reads of %.1f MB, %.1f MB of them distinct, up to %d together; %d writes; %.1f s",
		s.Reads, float64(s.ReadBytes)/1e6, float64(s.Distinct)/1e6, s.Together, s.Writes, s.Took.Seconds())
}
