package farm

import (
	"maps"
	"slices"
	"time"
)

const (
	// reportEvery is how often servers tell each other what they carry.
	reportEvery = time.Second
	// staleAfter is how long a member counts as alive without a report: a process that answers probes but
	// reports nothing does not work.
	staleAfter = 4 * reportEvery
	// settle is how long a log-in may be under way: one sent to a server this long before its report came
	// may not be counted in it.
	settle = reportEvery / 2
	// wishEvery bounds how often a peer is asked for the same inventory.
	wishEvery = reportEvery
	// maxAssigned bounds the log-ins remembered between two reports of a server.
	maxAssigned = 8192
)

// book merges what the servers of a farm tell. It is a value without clock, lock or socket: every method gets
// the time, of which only differences count. Names are those of servers.
type book struct {
	peers map[string]*entry
}

// entry is what is known of one server.
type entry struct {
	member bool // memberlist counts it as alive
	lost   bool // it was a member before, and was lost or started again
	meta   Meta
	back   time.Time // when it came back, if lost
	serves time.Time // since when it reports that it serves

	report   report
	reported time.Time            // when the last report came; zero before the first
	assigned map[string]time.Time // by device: one that asks twice counts once

	replicas []Replica
	index    map[shelf]map[uint32]Replica // by number; replaced as a whole, never changed
	have     Digest                       // of replicas
	haveSeq  uint64
	wished   time.Time
}

// shelf is where the versions of a vDisk lie on a server.
type shelf struct{ store, vdisk string }

// peer is one server as the book knows it.
type peer struct {
	name     string
	alive    bool
	meta     Meta
	report   report
	assigned int
	replicas []Replica
	index    map[shelf]map[uint32]Replica
	// heard is the time since the last report, negative when there was none.
	heard time.Duration
	// returned is the time since the server came back after it was lost; zero when it never was.
	returned time.Duration
	// serving is the time since it began to report that it serves; zero while it does not.
	serving time.Duration
}

func newBook() *book { return &book{peers: map[string]*entry{}} }

func (b *book) entry(name string) *entry {
	e := b.peers[name]
	if e == nil {
		e = &entry{}
		b.peers[name] = e
	}
	return e
}

// join notes that a server is a member under this metadata. It returns true when the server was not one
// before, or started again.
func (b *book) join(now time.Time, name string, m Meta) bool {
	e := b.entry(name)
	news := !e.member || e.meta.Start != m.Start
	known := e.meta != Meta{}
	if news && known {
		e.lost, e.back = true, now
	}
	if e.meta.Start != m.Start {
		// Another life of the server: what the old one reported is void; what it held is asked for again.
		e.report, e.reported, e.assigned = report{}, time.Time{}, nil
		e.haveSeq, e.wished = 0, time.Time{}
	}
	e.member, e.meta = true, m
	return news
}

// leave notes that a server is no member any more. Its inventory stays known: whose replica is the right one
// does not change because a server dies.
func (b *book) leave(name string) {
	if e := b.peers[name]; e != nil {
		e.member = false
		e.assigned = nil
	}
}

// take merges a report. It returns whether the report counts, and whether the server must be asked for its
// inventory.
func (b *book) take(now time.Time, r report) (counts, ask bool) {
	e := b.peers[r.From]
	if e == nil || e.meta.Start != r.Start || r.Seq <= e.report.Seq {
		return false, false // a stranger, an earlier life, or older than what is known
	}
	if r.State != e.report.State && r.State == StreamServing {
		e.serves = now
	}
	e.report, e.reported = r, now
	maps.DeleteFunc(e.assigned, func(_ string, at time.Time) bool { return now.Sub(at) > settle })
	if r.Inventory != e.have && now.Sub(e.wished) >= wishEvery {
		e.wished = now
		return true, true
	}
	return true, false
}

// state is the state that a server last reported, empty before its first report.
func (b *book) state(name string) StreamState {
	if e := b.peers[name]; e != nil {
		return e.report.State
	}
	return ""
}

// hold merges an inventory and returns whether it counts.
func (b *book) hold(i inventory) bool {
	e := b.peers[i.From]
	if e == nil || e.meta.Start != i.Start || i.Seq <= e.haveSeq {
		return false
	}
	e.replicas, e.haveSeq, e.have = i.Replicas, i.Seq, digest(i.Replicas)
	e.index = map[shelf]map[uint32]Replica{}
	for _, r := range i.Replicas {
		at := shelf{r.Store, r.VDisk}
		if e.index[at] == nil {
			e.index[at] = map[uint32]Replica{}
		}
		e.index[at][r.Number] = r
	}
	return true
}

// assign notes that a device was sent to a server.
func (b *book) assign(now time.Time, name, device string) {
	e := b.peers[name]
	if e == nil || len(e.assigned) >= maxAssigned {
		return
	}
	if e.assigned == nil {
		e.assigned = map[string]time.Time{}
	}
	e.assigned[device] = now
}

// list returns all servers ever heard of, by name. The replicas are shared and must not be changed.
func (b *book) list(now time.Time) []peer {
	var all []peer
	for _, name := range slices.Sorted(maps.Keys(b.peers)) {
		e := b.peers[name]
		p := peer{
			name: name, meta: e.meta, report: e.report, replicas: e.replicas, index: e.index,
			assigned: len(e.assigned), heard: -1,
		}
		if !e.reported.IsZero() {
			p.heard = now.Sub(e.reported)
			p.alive = e.member && p.heard < staleAfter
		}
		if e.lost {
			p.returned = now.Sub(e.back)
		}
		if e.report.State == StreamServing {
			p.serving = now.Sub(e.serves)
		}
		all = append(all, p)
	}
	return all
}
