package dhcp

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestTheJournalSurvivesEveryTruncationAndDamage(t *testing.T) {
	b := newBook(t, testConfig(t, "192.0.2.10", "192.0.2.29"))
	for i := range 4 {
		b.lease(t, i, start)
	}
	b.release(macOf(2), b.byMAC[macOf(2)].Addr, start)
	var file []byte
	ends := []int{0}
	for _, l := range b.kept {
		file = appendRecord(file, l)
		ends = append(ends, len(file))
	}
	for n := range len(file) + 1 {
		got, bad, err := readJournal(bytes.NewReader(file[:n]))
		whole := 0
		for _, e := range ends[1:] {
			if n >= e-1 { // the end of the line is no part of the record
				whole++
			}
		}
		if err != nil || len(got) != whole || bad > 1 {
			t.Fatalf("cut at %d: %d records, %d bad, %v; want %d", n, len(got), bad, err, whole)
		}
		for i := range got {
			if got[i] != b.kept[i] {
				t.Fatalf("record %d: %+v, want %+v", i, got[i], b.kept[i])
			}
		}
	}
	for n := range file {
		damaged := slices.Clone(file)
		damaged[n] ^= 0x41
		got, bad, err := readJournal(bytes.NewReader(damaged))
		if err != nil || len(got) < len(b.kept)-2 || bad == 0 {
			t.Fatalf("byte %d damaged: %d records, %d bad, %v", n, len(got), bad, err)
		}
		for _, g := range got {
			if !slices.Contains(b.kept, g) {
				t.Fatalf("byte %d damaged: made up %+v", n, g)
			}
		}
	}
}

// A crash of the machine leaves blocks of zeros, which are longer than a record: what was stored before and behind them counts.
func TestAZeroedBlockCostsOnlyTheRecordsInIt(t *testing.T) {
	b := newBook(t, testConfig(t, "192.0.2.10", "192.0.2.99"))
	for i := range 90 {
		b.lease(t, i, start)
	}
	var file []byte
	for _, l := range b.kept {
		file = appendRecord(file, l)
	}
	for _, size := range []int{maxRecord - 1, maxRecord, maxRecord + 1, 4096} {
		damaged := slices.Clone(file)
		clear(damaged[1000 : 1000+size])
		length := len(file) / len(b.kept)
		got, bad, err := readJournal(bytes.NewReader(damaged))
		if err != nil || bad == 0 || len(got) < len(b.kept)-size/length-2 || got[len(got)-1] != b.kept[len(b.kept)-1] {
			t.Errorf("%d bytes are zero: %d of %d records, %d bad, %v", size, len(got), len(b.kept), bad, err)
		}
	}
}

func TestWhatFindsNoRoomIsCountedAndTold(t *testing.T) {
	logged, told := observer.New(zap.InfoLevel)
	s := &Service{log: zap.New(logged)}
	events := make(chan event, 1)
	for i := range 100 {
		s.put(events, event{reply: []byte{1}})
		s.tellDrops(start.Add(time.Duration(i) * dropsAgain / 50))
	}
	if n := told.Len(); n != 2 || told.All()[0].ContextMap()["packets"] != uint64(1) || told.All()[1].ContextMap()["packets"] != uint64(50) {
		t.Errorf("told %d times: %+v", n, told.All())
	}
}

// A disk that takes bytes and then says that they are not on it has perhaps lost them: they are stored again.
func TestLeasesThatDidNotReachTheDiskAreStoredAgain(t *testing.T) {
	r, w, err := os.Pipe() // takes bytes, and cannot be synced
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := testConfig(t, "192.0.2.10", "192.0.2.12")
	s := &Service{log: zap.NewNop(), journal: &journal{path: filepath.Join(t.TempDir(), "leases"), file: w}}
	s.core = newCore(c, &fakeDirectory{}, func(l lease) { s.journal.add(l) })
	s.core.leases.renew(question{mac: macOf(1), subnet: &s.core.cfg.Subnets[0], wanted: at("192.0.2.10")}, start)
	s.flush(start)
	s.Close() // before it is time to try again
	b, err := os.ReadFile(s.journal.path)
	if all, bad, _ := readJournal(bytes.NewReader(b)); err != nil || bad > 0 || len(all) != 1 || all[0].Addr != at("192.0.2.10") {
		t.Errorf("stored are %+v, %d bad, %v", all, bad, err)
	}
}

func TestLeasesOutliveTheServiceAndTheFileDoesNotGrowForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases")
	c := testConfig(t, "192.0.2.10", "192.0.2.29")
	var j *journal
	run := func() *leases {
		l := newLeases(&c, func(n lease) { j.add(n) })
		var err error
		var bad int
		j, bad, err = openJournal(path, func(all []lease) []lease { l.restore(all); return l.all() })
		if err != nil || bad > 1 {
			t.Fatal(bad, err)
		}
		return l
	}
	l := run()
	q := question{mac: macOf(1), subnet: &c.Subnets[0]}
	q.wanted = l.offer(q, start).addr
	now := start
	for range 3000 {
		now = now.Add(time.Minute)
		if a := l.renew(q, now); a.verdict != verdictGive {
			t.Fatal(a)
		}
		if err := j.flush(); err != nil {
			t.Fatal(err)
		}
		if j.long(len(l.byAddr)) {
			if err := j.rewrite(l.all()); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "deadbeef {\"addr\":\"192.0") // a crash
	f.Close()
	if s, err := os.Stat(path); err != nil || s.Size() > 300<<10 {
		t.Errorf("%v, %v", s.Size(), err)
	}
	again := run()
	if got := again.byMAC[macOf(1)]; got == nil || got.Addr != q.wanted || !got.Until.Equal(now.Add(time.Hour)) {
		t.Errorf("after a restart: %+v", got)
	}
	if err := j.close(); err != nil {
		t.Error(err)
	}
}

// A full disk is told now and then, not for each packet; what waits to be stored stays bounded, and is stored when there is room.
func TestAFullDiskCostsNeitherMemoryNorALineForEachPacket(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full: ", err)
	}
	folder := filepath.Join(t.TempDir(), "state")
	logged, told := observer.New(zap.InfoLevel)
	s := &Service{log: zap.New(logged), journal: &journal{path: filepath.Join(folder, "leases"), file: full}}
	s.core = newCore(testConfig(t, "192.0.2.10", "192.0.2.12"), &fakeDirectory{}, func(l lease) { s.journal.add(l) })
	q := question{mac: macOf(1), subnet: &s.core.cfg.Subnets[0], wanted: at("192.0.2.10")}
	now := start
	for range 20_000 {
		now = now.Add(10 * time.Millisecond)
		s.core.leases.renew(q, now)
		s.flush(now)
	}
	if n := len(s.journal.buffer); n > 2*maxUnstored {
		t.Errorf("%d bytes wait", n)
	}
	if n := told.Len(); n == 0 || n > 20 { // 200 s
		t.Errorf("told %d times", n)
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	s.flush(now.Add(storeAgain))
	b, err := os.ReadFile(s.journal.path)
	if all, bad, _ := readJournal(bytes.NewReader(b)); err != nil || bad > 0 || len(all) != 1 || !all[0].Until.Equal(now.Add(time.Hour)) {
		t.Errorf("stored are %+v, %d bad, %v", all, bad, err)
	}
	if err := s.journal.close(); err != nil {
		t.Error(err)
	}
}
