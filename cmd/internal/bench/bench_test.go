package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
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

const nbdkitLog = `2026-01-02 10:00:00.000000 Ready thread_model=3
2026-01-02 10:00:00.100000 connection=1 Connect export="" tls=0 size=0x100000
2026-01-02 10:00:00.200000 connection=1 Read id=1 offset=0x0 count=0x200 ...
2026-01-02 10:00:00.200500 connection=1 ...Read id=1 return=0
2026-01-02 10:00:00.300000 connection=1 Read id=2 offset=0x1000 count=0x1000 ...
2026-01-02 10:00:00.300100 connection=1 Write id=3 offset=0x0 count=0x200 ...
2026-01-02 10:00:00.300200 connection=1 Read id=4 offset=0x3000 count=0x800 ...
2026-01-02 10:00:00.300300 connection=1 ...Read id=4 return=0
2026-01-02 10:00:00.300400 connection=1 ...Read id=2 return=0
2026-01-02 10:00:00.700000 connection=1 Read id=5 offset=0x800 count=0x200 ...
2026-01-02 10:00:00.700400 connection=1 ...Read id=5 return=0
`

func TestTraceKeepsWhatAReadMayHaveDependedOn(t *testing.T) {
	got, err := parseTrace(strings.NewReader(nbdkitLog))
	if err != nil {
		t.Fatal(err)
	}
	want := []tracedRead{{0, 0x200, nil}, {0x1000, 0x1000, []int{0}}, {0x3000, 0x800, nil}, {0x800, 0x200, []int{2, 1}}}
	if !reflect.DeepEqual(got.Reads, want) || got.Took.Milliseconds() != 500 || got.bytes() != 0x1c00 {
		t.Errorf("got %+v, %s, %d bytes", got.Reads, got.Took, got.bytes())
	}
	if _, err := parseTrace(strings.NewReader("nothing\n")); err == nil {
		t.Error("a log without reads was taken")
	}
}

// server is an NBD server of one client, which answers reads in pairs and in the wrong order.
func server(t *testing.T, conn net.Conn, size uint64, seen *[]int64) {
	defer conn.Close()
	be := binary.BigEndian
	hello := be.AppendUint16(be.AppendUint64(be.AppendUint64(nil, nbdMagic), nbdOptMagic), 1|nbdNoZeroes)
	if _, err := conn.Write(hello); err != nil {
		t.Error(err)
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, 4+8+4+4)); err != nil {
		t.Error(err)
		return
	}
	if _, err := conn.Write(be.AppendUint16(be.AppendUint64(nil, size), 0)); err != nil {
		t.Error(err)
		return
	}
	var held []byte
	for {
		var q [28]byte
		if _, err := io.ReadFull(conn, q[:]); err != nil {
			return // the client is done
		}
		*seen = append(*seen, int64(be.Uint64(q[16:])))
		reply := be.AppendUint64(be.AppendUint32(be.AppendUint32(nil, nbdReply), 0), be.Uint64(q[8:]))
		reply = append(reply, make([]byte, be.Uint32(q[24:]))...)
		if len(*seen) == 2 { // the second read of the trace waits for the third
			held = reply
			continue
		}
		if _, err := conn.Write(append(reply, held...)); err != nil {
			t.Error(err)
			return
		}
		held = nil
	}
}

func TestReplayWaitsForWhatWasAwaited(t *testing.T) {
	recorded, err := parseTrace(strings.NewReader(nbdkitLog))
	if err != nil {
		t.Fatal(err)
	}
	recorded.Size = 1 << 20
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var (
		seen []int64
		done sync.WaitGroup
	)
	done.Go(func() { // ends when the replay closes its connection
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		server(t, conn, 1<<20, &seen)
	})
	if _, err := replay(recorded, "unix:"+l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	done.Wait()
	if want := []int64{0, 0x1000, 0x3000, 0x800}; !reflect.DeepEqual(seen, want) {
		t.Errorf("the server saw %v, want %v", seen, want)
	}
}
