package bootreplay

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const ms = time.Millisecond

// example is a machine that reads two blocks together, thinks, writes, reads what it has written and what it has not.
func example() *Recording {
	return &Recording{Version: formatVersion, Size: 1 << 20, Requests: []Request{
		{Read, 0, 4096, 0, 2 * ms},
		{Read, 8192, 4096, 1 * ms, 4 * ms},
		{Read, 16384, 512, 5 * ms, 6 * ms}, // after both, 1 ms later
		{Write, 65536, 8192, 6 * ms, 7 * ms},
		{Flush, 0, 0, 7 * ms, 8 * ms},
		{Read, 69632, 4096, 8 * ms, 9 * ms},  // its own
		{Read, 69632, 8192, 9 * ms, 10 * ms}, // half its own
		{Trim, 0, 1 << 20, 11 * ms, 12 * ms},
		{Read, 4096, 4096, 12 * ms, 13 * ms}, // trimmed
	}}
}

// slow is a disk on which each read takes the same time, however many there are.
type slow struct {
	delay time.Duration
	start time.Time
	bad   int64 // the offset that cannot be read

	mu    sync.Mutex
	reads []Request // guarded by mu
}

var errBad = errors.New("bad sector")

func (s *slow) ReadAt(ctx context.Context, p []byte, off int64) error {
	begin := time.Since(s.start)
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, Request{Read, off, int64(len(p)), begin, time.Since(s.start)})
	if s.bad > 0 && off == s.bad {
		return errBad
	}
	return nil
}

// A read waits for those that had ended before it began, for no others, and for the machine's own time only when that is
// wanted; what the machine had written is not read.
func TestReadsWaitForWhatTheyMayDependOn(t *testing.T) {
	for _, c := range []struct {
		think bool
		want  []Request
	}{
		{false, []Request{{Read, 0, 4096, 0, 10 * ms}, {Read, 8192, 4096, 0, 10 * ms}, {Read, 16384, 512, 10 * ms, 20 * ms}, {Read, 69632, 8192, 20 * ms, 30 * ms}}},
		{true, []Request{{Read, 0, 4096, 0, 10 * ms}, {Read, 8192, 4096, 1 * ms, 11 * ms}, {Read, 16384, 512, 12 * ms, 22 * ms}, {Read, 69632, 8192, 25 * ms, 35 * ms}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &slow{delay: 10 * ms, start: time.Now()}
			got, err := Replay(t.Context(), example(), d, Options{Think: c.think})
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(d.reads, func(a, b Request) int { return int(a.Offset - b.Offset) })
			if !reflect.DeepEqual(d.reads, c.want) {
				t.Errorf("think %v: read\n%v, want\n%v", c.think, d.reads, c.want)
			}
			if want := (Result{c.want[3].End, 4, 4096 + 4096 + 512 + 8192}); got != want {
				t.Errorf("think %v: %+v, want %+v", c.think, got, want)
			}
		})
	}
}

// A replay on the disk that was recorded, with the machine's own time kept, takes as long as the machine took.
func TestAReplayWithThinkingTimeTakesAsLongAsTheRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Recording{Version: formatVersion, Size: 1 << 30}
		random := rand.New(rand.NewPCG(1, 2))
		const delay = 3 * ms
		at := time.Duration(0)
		for range 500 {
			r.Requests = append(r.Requests, Request{Read, random.Int64N(1<<18) << 12, 4096, at, at + delay})
			at += time.Duration(random.IntN(6)) * ms
		}
		got, err := Replay(t.Context(), r, &slow{delay: delay, start: time.Now()}, Options{Think: true})
		if want := r.Stats().Took; err != nil || got.Took != want {
			t.Errorf("it took %v, and %v in the recording (%v)", got.Took, want, err)
		}
	})
}

// A read that fails ends the replay, which says which it was; so does the end of the context; nothing is left running.
func TestAReplayEndsWithTheFirstReadThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slow{delay: ms, start: time.Now(), bad: 16384}
		if got, err := Replay(t.Context(), example(), d, Options{}); !errors.Is(err, errBad) || got.Reads != 3 {
			t.Errorf("%+v, %v", got, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*ms)
		defer cancel()
		d = &slow{delay: time.Hour, start: time.Now()}
		if _, err := Replay(ctx, example(), d, Options{Think: true}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the end of the context: %v", err)
		}
		bad := func([]byte, int64) error { return errBad }
		if _, err := Replay(t.Context(), example(), &slow{start: time.Now()}, Options{Check: bad}); !errors.Is(err, errBad) {
			t.Errorf("a check that fails: %v", err)
		}
	})
}

// What is saved is what is loaded; what cannot be replayed is refused.
func TestRecordingsAreFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boot.json")
	r := example()
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v", got, err)
	}
	want := Stats{Reads: 6, ReadBytes: 4096*4 + 512 + 8192, Distinct: 4096*2 + 512 + 8192 + 4096, Replayed: 4, Writes: 1, Together: 2, Took: 13 * ms}
	if s := got.Stats(); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	for name, spoil := range map[string]func(*Recording){
		"version":   func(r *Recording) { r.Version++ },
		"size":      func(r *Recording) { r.Size = 0 },
		"operation": func(r *Recording) { r.Requests[0].Op = "eject" },
		"range":     func(r *Recording) { r.Requests[0].Offset = 1 << 20 },
		"length":    func(r *Recording) { r.Size, r.Requests[0].Length = 1<<40, 1<<30 },
		"order":     func(r *Recording) { r.Requests[0].Begin = 2 * ms },
		"end":       func(r *Recording) { r.Requests[0].End = -1 },
	} {
		r := example()
		spoil(r)
		if err := r.Save(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil {
			t.Errorf("a recording with a bad %s is loaded", name)
		}
		if _, err := Replay(t.Context(), r, &slow{}, Options{}); err == nil {
			t.Errorf("a recording with a bad %s is replayed", name)
		}
	}
}

// A set of spans is a set of bytes.
func TestSpansAreASetOfBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var s spans
		var bytes [64]bool
		for range 12 {
			off, length := random.Int64N(60), random.Int64N(12)
			length = min(length, int64(len(bytes))-off)
			s.add(off, length)
			n := int64(0)
			for i := range bytes {
				bytes[i] = bytes[i] || int64(i) >= off && int64(i) < off+length
				if bytes[i] {
					n++
				}
			}
			if s.bytes() != n {
				t.Fatalf("%v has %d bytes, not %d", s, n, s.bytes())
			}
			for i := 1; i < len(s); i++ {
				if s[i-1].to >= s[i].from {
					t.Fatalf("%v: two that touch", s)
				}
			}
			from, want := random.Int64N(60), true
			to := min(64, from+random.Int64N(8))
			for i := from; i < to; i++ {
				want = want && bytes[i]
			}
			if s.holds(from, to-from) != want {
				t.Fatalf("%v holds [%d, %d): %v", s, from, to, !want)
			}
		}
	}
}

// No file makes a program that loads and replays recordings fail otherwise than by an error.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"size":1048576,"requests":[{"op":"read","offset":0,"length":4096,"begin_ns":0,"end_ns":5}]}`))
	f.Add([]byte(`{"version":1,"size":4611686018427387904,"requests":[{"op":"trim","offset":0,"length":4611686018427387904,"begin_ns":0,"end_ns":5}]}`))
	f.Add([]byte(`{"version":1,"size":1,"requests":[{"op":"read","offset":9223372036854775807,"length":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		if s := r.Stats(); s.Replayed > s.Reads || s.Reads > len(r.Requests) {
			t.Errorf("%+v", s)
		}
		for i, s := range r.plan() {
			if s.think < 0 || slices.ContainsFunc(s.after, func(a int) bool { return a >= i }) {
				t.Errorf("step %d: %+v", i, s)
			}
		}
	})
}
