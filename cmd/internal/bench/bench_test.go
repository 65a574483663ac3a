package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestBoundsAreJudgedFromTheRightSide(t *testing.T) {
	cases := []struct {
		x    row
		ok   bool
		want string
	}{
		{row{Spate: 50, Peer: 100, Bound: 0.35}, true, "ok, bound 0.35"},
		{row{Spate: 30, Peer: 100, Bound: 0.35}, false, "MISSED, bound 0.35"},
		{row{Spate: 70, Peer: 100, Bound: 0.8, AtMost: true}, true, "ok, bound 0.80"},
		{row{Spate: 90, Peer: 100, Bound: 0.8, AtMost: true}, false, "MISSED, bound 0.80"},
		{row{Spate: 80, Peer: 100, Bound: 0.8, AtMost: true}, true, "ok, bound 0.80"},
		{row{Spate: 1, Peer: 100}, true, "0.01"},
	}
	var out bytes.Buffer
	r := newReport(&out)
	good := true
	for _, c := range cases {
		out.Reset()
		r.add(c.x)
		got := r.rows[len(r.rows)-1]
		if good = good && c.ok; got.OK != c.ok || r.good() != good || !strings.Contains(out.String(), c.want) {
			t.Errorf("%+v: ok %v, want %v; printed %q", c.x, got.OK, c.ok, out.String())
		}
	}
	path := filepath.Join(t.TempDir(), "out", "bench.json")
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back struct{ Rows []row }
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back.Rows, r.rows) {
		t.Errorf("rows became %+v, %v", back.Rows, err)
	}
}

func TestMedianAndSpread(t *testing.T) {
	for _, c := range []struct {
		in             []float64
		median, spread float64
	}{{nil, 0, 0}, {[]float64{4}, 4, 0}, {[]float64{3, 1, 2}, 2, 1}, {[]float64{4, 1, 2, 3}, 2.5, 1.2}} {
		if m, s := median(c.in), spread(c.in); m != c.median || s != c.spread {
			t.Errorf("%v: median %g, spread %g; want %g, %g", c.in, m, s, c.median, c.spread)
		}
	}
}

// disk notes how many reads are under way at once.
type disk struct {
	mu        sync.Mutex // guards the fields below
	now, most int
	seen      []int64
	gate      chan struct{} // lets one read end for each value
}

func (d *disk) ReadAt(_ context.Context, _ []byte, off int64) error {
	d.mu.Lock()
	d.seen = append(d.seen, off)
	d.now++
	d.most = max(d.most, d.now)
	d.mu.Unlock()
	<-d.gate
	d.mu.Lock()
	d.now--
	d.mu.Unlock()
	if off < 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func TestReadsAreUnderWayAtTheDepthThatIsMeasured(t *testing.T) {
	d := &disk{gate: make(chan struct{})}
	offsets := []int64{5, 3, 9, 1, 7, 8}
	go func() { // ends when every read has been let go
		for range offsets {
			d.gate <- struct{}{}
		}
	}()
	_, took, err := readAll(t.Context(), d, offsets, 3)
	slices.Sort(d.seen)
	if err != nil || d.most > 3 || len(took) != 6 || !slices.Equal(d.seen, []int64{1, 3, 5, 7, 8, 9}) {
		t.Errorf("at most %d at once, offsets %v, %v", d.most, d.seen, err)
	}
	close(d.gate)
	if _, _, err := readAll(t.Context(), d, []int64{1, -1, 2}, 2); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a read that fails: %v", err)
	}
}
