package remote

// track follows one sequential stream of reads. Offsets are in bytes.
type track struct {
	from   int64 // where it began
	next   int64 // where it goes on
	asked  int64 // up to where read-ahead was asked for
	window int64 // how far ahead of next that shall be
	hits   int   // reads in sequence
	used   uint64
	due    bool // wants more to be asked for
}

// ahead finds sequential streams among reads. The disk's lock guards it.
type ahead struct {
	limit  int64 // of a window; negative: no read-ahead
	clock  uint64
	due    bool // of some track
	tracks [maxTracks]track
}

// note takes a read of n bytes at off, and marks the stream to which it belongs if that wants more read-ahead.
func (a *ahead) note(off, n int64) {
	if a.limit <= 0 {
		return
	}
	a.clock++
	oldest := &a.tracks[0]
	for i := range a.tracks {
		t := &a.tracks[i]
		switch {
		case t.used == 0:
		case off+n <= t.next && off >= max(t.from, t.next-trackBack):
			t.used = a.clock // read again, or a read that was overtaken
			return
		case off+n > t.next && off <= t.next+trackSlack && off >= max(t.from, t.next-trackBack):
			t.used, t.next = a.clock, off+n
			t.hits++
			a.widen(t)
			return
		}
		if t.used < oldest.used {
			oldest = t
		}
	}
	*oldest = track{from: off, next: off + n, asked: off + n, used: a.clock}
}

// widen doubles the window when half of what was read ahead has been read.
func (a *ahead) widen(t *track) {
	if t.hits >= aheadAfter && (t.window == 0 || t.asked <= t.next+t.window/2) {
		t.window = min(max(2*t.window, firstWindow), a.limit)
		t.due, a.due = true, true
	}
}

// extendLocked asks for what sequential streams want read ahead.
func (d *Disk) extendLocked(rq *request) {
	if !d.ahead.due {
		return
	}
	d.ahead.due = false
	round := int64(d.shape.ChunkSize) - 1
	for i := range d.ahead.tracks {
		t := &d.ahead.tracks[i]
		if !t.due {
			continue
		}
		t.due = false
		from := (max(t.asked, t.next) + round) >> d.shift
		to := (min(t.next+t.window, d.shape.Size) + round) >> d.shift
		if from < to {
			t.asked = d.planLocked(rq, from, to, false) << d.shift
		}
	}
}

// usedLocked counts a chunk of read-ahead that somebody reads, once.
func (d *Disk) usedLocked(chunk int64) {
	if i := d.stored.find(chunk); i != nil {
		if !i.ahead {
			return
		}
		i.ahead = false
	} else if r, ok := d.runs.get(objectKey(0, chunk)); ok {
		bit := uint64(1) << (chunk - r.first)
		if r.touched&bit != 0 {
			return
		}
		r.touched |= bit
	}
	d.stats.AheadUsed += uint64(d.shape.ChunkLength(chunk))
}

// evicted counts what goes from the cache of stored chunks.
func (d *Disk) evicted(i *item) {
	if i.ahead {
		d.stats.AheadWasted += uint64(d.shape.ChunkLength(i.chunk))
	}
}
