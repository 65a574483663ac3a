package farm

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// at is so many seconds after the beginning of a test.
func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

func reportOf(name string, start, seq uint64, sessions int) report {
	return report{From: name, Start: start, Seq: seq, Load: Load{State: StreamServing, Sessions: sessions}, Inventory: digest(nil)}
}

func TestReportsCountOnceInOrderAndOnlyInTheLifeTheyBelongTo(t *testing.T) {
	b := newBook()
	if counts, _ := b.take(at(0), reportOf("a", 7, 1, 5)); counts {
		t.Error("a report of a server that is no member counted")
	}
	b.join(at(0), "a", Meta{Start: 7})
	steps := []struct {
		what       string
		start, seq uint64
		counts     bool
	}{
		{"the first", 7, 5, true}, {"the same again", 7, 5, false}, {"an older one", 7, 4, false}, {"a later one", 7, 9, true},
		{"one of another life", 8, 10, false},
	}
	for i, s := range steps {
		if counts, _ := b.take(at(float64(i)), reportOf("a", s.start, s.seq, int(s.seq))); counts != s.counts {
			t.Errorf("%s: counts %v, want %v", s.what, counts, s.counts)
		}
	}
	if p := b.list(at(4))[0]; p.report.Sessions != 9 || p.heard != time.Second || !p.alive {
		t.Errorf("got %+v, want the report with 9 sessions, heard 1 s ago", p)
	}
	b.join(at(5), "a", Meta{Start: 8})
	if p := b.list(at(5))[0]; p.alive || p.report.Sessions != 0 {
		t.Errorf("after a restart the old life's report still counts: %+v", p)
	}
	if counts, _ := b.take(at(5), reportOf("a", 8, 1, 1)); !counts {
		t.Error("the first report of the new life did not count")
	}
}

func TestServerIsAliveWhileItIsAMemberAndReports(t *testing.T) {
	b := newBook()
	alive := func(now float64) bool { return b.list(at(now))[0].alive }
	b.join(at(0), "a", Meta{Start: 7})
	if alive(0) {
		t.Error("alive before the first report")
	}
	b.take(at(1), reportOf("a", 7, 1, 0))
	if !alive(1) || !alive(4.9) || alive(5) {
		t.Errorf("alive %v, %v, %v; want true, true, and false after 4 s without a report", alive(1), alive(4.9), alive(5))
	}
	b.take(at(5), reportOf("a", 7, 2, 0))
	b.leave("a")
	if alive(5) {
		t.Error("alive after it left")
	}
	if p := b.list(at(6))[0]; p.returned != 0 {
		t.Errorf("came back %v ago without having come back", p.returned)
	}
	b.join(at(10), "a", Meta{Start: 7})
	if p := b.list(at(13))[0]; p.returned != 3*time.Second {
		t.Errorf("came back %v ago, want 3 s", p.returned)
	}
}

func TestInventoryIsAskedForUntilItIsTheReportedOne(t *testing.T) {
	b := newBook()
	b.join(at(0), "a", Meta{Start: 7})
	replicas := []Replica{{Store: "main", VDisk: "debian12", Number: 3}}
	r := reportOf("a", 7, 1, 0)
	r.Inventory = digest(replicas)
	ask := func(now float64) bool {
		r.Seq++
		_, ask := b.take(at(now), r)
		return ask
	}
	if !ask(1) || ask(1.5) || !ask(2.5) {
		t.Error("want: asked at once, not again within a second, then again")
	}
	if b.hold(inventory{"a", 6, 9, replicas}) {
		t.Error("an inventory of another life counted")
	}
	if !b.hold(inventory{"a", 7, 2, replicas}) || b.hold(inventory{"a", 7, 1, nil}) || ask(4) {
		t.Error("want: the inventory counts, an older one does not, and nobody asks any more")
	}
	b.leave("a")
	if got := b.list(at(5))[0].replicas; !reflect.DeepEqual(got, replicas) {
		t.Errorf("a dead server's inventory is forgotten: %v", got)
	}
}

func TestAssignmentsCountUntilAReportCanContainThem(t *testing.T) {
	b := newBook()
	b.join(at(0), "a", Meta{Start: 7})
	for device, when := range map[string]float64{"pc-1": 1, "pc-2": 1.2, "pc-3": 1.8} {
		b.assign(at(when), "a", device)
		b.assign(at(when), "a", device) // asked again
	}
	b.assign(at(1), "nobody", "pc-1")
	if got := b.list(at(1.9))[0].assigned; got != 3 {
		t.Errorf("%d assigned, want 3", got)
	}
	b.take(at(2), reportOf("a", 7, 1, 2))
	if got := b.list(at(2))[0].assigned; got != 1 {
		t.Errorf("%d assigned after the report, want 1: the target sent 200 ms before may still be under way", got)
	}
}

func TestACallCountsOnce(t *testing.T) {
	var o once
	steps := []struct {
		start, number uint64
		first         bool
	}{
		{7, 1, true}, {7, 1, false}, {7, 3, true}, {7, 2, true}, {7, 2, false}, {7, 0, false},
		{7, 300, true}, {7, 40, false}, {7, 45, true}, {7, 45, false}, {7, 5000, true}, {7, 4800, true}, {7, 4800, false},
		{8, 1, true}, {8, 1, false},
	}
	for i, s := range steps {
		if got := o.first(s.start, s.number); got != s.first {
			t.Errorf("step %d, call %d of life %d: first %v, want %v", i, s.number, s.start, got, s.first)
		}
	}
}

func messages() [][]byte {
	replicas := []Replica{{Store: "main", VDisk: "debian12", Number: 3, Size: 512, Stored: 99, Fenced: 1, Problem: "seal damaged"}}
	return [][]byte{
		encode(kindReport, reportOf("a", 1, 2, 3)),
		encode(kindInventory, inventory{"a", 1, 2, replicas}),
		encode(kindWish, wish{"a"}),
		encode(kindCall, call{"a", 1, 2, 3, "targets", []byte(`{"x":1}`), time.Second}),
		encode(kindAnswer, answer{From: "a", Number: 1, Start: 2, Last: true, Code: ErrorConflict, Text: "no"}),
		encode(kindCancel, cancel{"a", 1, 2}),
	}
}

func TestMessagesBetweenServersAreReadAsTheyWereWritten(t *testing.T) {
	for _, m := range messages() {
		v, err := decode(m)
		if err != nil {
			t.Errorf("%s: %v", m, err)
			continue
		}
		if again := encode(messageKind(m[0]), v); !bytes.Equal(again, m) {
			t.Errorf("%s became %s", m, again)
		}
	}
}

// sameBody gives a call or an answer its body in the form that encoding gives it: JSON may have spaces, and spells some letters in two ways.
func sameBody(t *testing.T, v any) any {
	form := func(body json.RawMessage) json.RawMessage {
		if len(body) == 0 {
			return body
		}
		same, err := json.Marshal(body)
		if err != nil {
			t.Fatalf("body %s: %v", body, err)
		}
		return same
	}
	switch m := v.(type) {
	case call:
		m.Body = form(m.Body)
		return m
	case answer:
		m.Body = form(m.Body)
		return m
	default:
		return v
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		f.Add(m)
	}
	f.Add([]byte(`R{"from":"a","start":1,"seq":1,"state":"asleep"}`))
	f.Add([]byte(`I{"from":"../etc"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		v = sameBody(t, v)
		if again, err := decode(encode(messageKind(b[0]), v)); err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("%+v became %+v, %v", v, again, err)
		}
		book := newBook()
		book.join(noon, "a", Meta{Start: 1})
		switch m := v.(type) {
		case report:
			book.take(noon, m)
		case inventory:
			book.hold(m)
		}
		book.list(noon)
	})
}
