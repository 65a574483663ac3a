package vdisk

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/spate-project/spate/vdisk/tree"
	"github.com/zeebo/blake3"
)

// maxComplaints bounds the list in a Report; what is beyond is counted.
const maxComplaints = 1000

// Progress is how far a long operation has come, in bytes.
type Progress struct {
	Stage  string // of an import; empty elsewhere
	Done   int64  // of the disk
	Total  int64  // of the disk; 0 when it is not known
	Stored int64  // of the file written or read
}

// VerifyOptions are those of Verify; the zero value is good.
type VerifyOptions struct {
	Workers  int            // goroutines that decode; 0 means one for each CPU
	Progress func(Progress) // called from one goroutine, often; may be nil
}

// Report is what Verify found.
type Report struct {
	ID         ID
	Logical    tree.Hash // of the disk's bytes as they are; zero when not all could be read
	Complaints int       // how many things are wrong
	Damage     []Damage  // the first of them, at most 1000
	Bytes      int64     // of the disk that were checked
	Boot       int64     // of its boot files that were checked
}

// Sound reports whether nothing is wrong at all.
func (r *Report) Sound() bool { return r.Complaints == 0 }

func (r *Report) complain(d Damage) {
	r.Complaints++
	if len(r.Damage) < maxComplaints {
		r.Damage = append(r.Damage, d)
	}
}

// piece is a run of chunks of one leaf page on its way through a verification.
type piece struct {
	first   int64
	entries []tree.Entry
	places  []place
	logical int64  // length of the run in bytes
	data    []byte // the decoded chunks; nil when all are zero
	read    int64  // bytes of the file
	bad     []*DamagedError
	unread  []Damage
	done    chan struct{}

	buf     []byte // backs data
	checker checker
}

// verification is one run of Verify.
type verification struct {
	v      *Version
	report *Report
	hasher *blake3.Hasher
	whole  bool // every byte so far went into hasher
	show   func(Progress)
	stored int64

	free, work, order chan *piece
}

// Verify reads the whole file: header and both seal slots, every locator record, every page and every chunk
// against the tree, the disk's bytes against their hash, and every boot file. It finds everything that is wrong rather than the
// first; what is below a bad page cannot be checked and is named by that page. Damaged objects are fenced. The
// error is that of ctx.
func (v *Version) Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	workers := o.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = min(max(workers, 1), maxWorkers)
	r := &verification{v: v, report: &Report{ID: v.seal.id}, hasher: blake3.New(), whole: true, show: o.Progress}
	for _, d := range v.Damage() {
		if d.Level < 0 && !d.Boot {
			r.report.complain(d)
		}
	}
	v.recheck()
	jobs := 2*workers + spareJobs
	r.free, r.work, r.order = make(chan *piece, jobs), make(chan *piece, jobs), make(chan *piece, jobs)
	for range jobs {
		r.free <- &piece{done: make(chan struct{}, 1), checker: checker{v: v}}
	}
	var all sync.WaitGroup
	for range workers {
		d, err := tree.NewDecoder()
		if err != nil {
			return nil, err
		}
		// Ends when work is closed below.
		all.Go(func() {
			defer d.Close()
			for p := range r.work {
				v.decode(p, d)
				p.done <- struct{}{}
			}
		})
	}
	// Ends when order is closed below.
	all.Go(func() {
		for p := range r.order {
			<-p.done
			r.take(p)
			r.free <- p
		}
	})
	damaged := r.walk(ctx)
	bytes, boot := v.checkBoot(func(int64) error { return ctx.Err() })
	close(r.work)
	close(r.order)
	all.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("verify %s version %d: %w", v.seal.name, v.seal.number, err)
	}
	for _, d := range damaged {
		r.report.complain(d)
		r.whole = false
	}
	for _, d := range boot {
		r.report.complain(d)
	}
	r.report.Boot = bytes
	r.finish()
	return r.report, nil
}

// walk goes through the leaf pages in order, hands their chunks out in pieces, and gives what is wrong with
// pages. It ends early when ctx does.
func (r *verification) walk(ctx context.Context) []Damage {
	v := r.v
	var damaged []Damage
	c := checker{v: v}
	per := max(1, jobBytes/int(v.seal.shape.ChunkSize))
	for leaf := int64(0); leaf < v.seal.shape.Count(1) && ctx.Err() == nil; leaf++ {
		page, err := c.page(1, leaf)
		if err != nil {
			var bad *DamagedError
			if err = v.learn(1, leaf, err); !errors.As(err, &bad) {
				damaged = append(damaged, Damage{Part: object(1, leaf), Level: 1, Index: leaf, Reason: unreadable(err)})
				continue
			}
			damaged = append(damaged, Damage{
				Part: object(bad.Level, bad.Index), Level: bad.Level, Index: bad.Index, Fenced: true,
				Reason: bad.Reason + "; what is below it cannot be checked",
			})
			// On with the first leaf page that is not below the bad one.
			leaf = (bad.Index+1)<<(fanoutShift*(bad.Level-1)) - 1
			continue
		}
		for from := 0; from < len(page.entries); from += per {
			to := min(from+per, len(page.entries))
			p := <-r.free
			p.first = leaf*tree.Fanout + int64(from)
			p.entries = append(p.entries[:0], page.entries[from:to]...)
			p.places = append(p.places[:0], page.record.children[from:to]...)
			r.order <- p
			r.work <- p
		}
	}
	return damaged
}

// decode reads, checks and decodes the chunks of a piece.
func (v *Version) decode(p *piece, d *tree.Decoder) {
	shape := v.seal.shape
	zero := true
	p.logical, p.read, p.data, p.bad, p.unread = 0, 0, nil, nil, nil
	for i, e := range p.entries {
		p.logical += int64(shape.ChunkLength(p.first + int64(i)))
		zero = zero && e.Kind == tree.Zero && p.places[i] == (place{})
	}
	if zero {
		return
	}
	if p.buf == nil {
		p.buf = make([]byte, max(jobBytes, int(shape.ChunkSize)))
	}
	p.data = p.buf[:p.logical]
	rest, c := p.data, &p.checker
	for i, e := range p.entries {
		index := p.first + int64(i)
		dst := rest[:shape.ChunkLength(index)]
		rest = rest[len(dst):]
		err := error(nil)
		switch {
		case e.Length != p.places[i].length:
			err = &DamagedError{0, index, "locator and tree disagree about its length"}
		default:
			err = c.stored(p.places[i], 0, index)
		}
		if err == nil {
			p.read += int64(e.Length)
			if derr := d.Decode(dst, e, c.bytes); derr != nil {
				err = &DamagedError{0, index, derr.Error()}
			} else if e.Kind != tree.Zero && tree.IsZero(dst) {
				err = &DamagedError{0, index, "is zero and stored as if it were not"}
			}
		}
		var bad *DamagedError
		if err = v.learn(0, index, err); errors.As(err, &bad) {
			p.bad = append(p.bad, bad)
		} else if err != nil {
			p.unread = append(p.unread, Damage{Part: object(0, index), Index: index, Reason: unreadable(err)})
		}
	}
}

// take adds a piece to the report and the hash, in order.
func (r *verification) take(p *piece) {
	for _, bad := range p.bad {
		r.report.complain(Damage{Part: object(0, bad.Index), Index: bad.Index, Fenced: true, Reason: bad.Reason})
	}
	for _, d := range p.unread {
		r.report.complain(d)
	}
	r.whole = r.whole && len(p.bad)+len(p.unread) == 0
	r.report.Bytes += p.logical
	r.stored += p.read
	if r.whole {
		hashed(r.hasher, p.data, p.logical-int64(len(p.data)))
	}
	if r.show != nil {
		r.show(Progress{Done: r.report.Bytes, Total: r.v.seal.shape.Size, Stored: r.stored})
	}
}

// finish compares the hash of the disk's bytes with what the seal says.
func (r *verification) finish() {
	if !r.whole {
		return
	}
	r.hasher.Sum(r.report.Logical[:0])
	if r.report.Logical != r.v.seal.logical {
		r.report.complain(Damage{Part: sealPart, Level: -1, Reason: fmt.Sprintf(
			"the disk's bytes have the hash %s, the seal says %s", r.report.Logical.Short(), r.v.seal.logical.Short())})
	}
}
