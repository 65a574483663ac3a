package engine

// fetchQueue is a queue of fetches that have something to be asked for, a ring
// that grows. A fetch knows in which queue it stands.
type fetchQueue struct {
	ring []*Fetch // a power of two long; nil where one was taken out
	head int
	n    int // places in use, those of removed ones too
}

func (q *fetchQueue) at(i int) **Fetch { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

// front is the first fetch, nil when there is none.
func (q *fetchQueue) front() *Fetch {
	for q.n > 0 {
		if f := *q.at(0); f != nil {
			return f
		}
		q.head++
		q.n--
	}
	return nil
}

func (q *fetchQueue) push(f *Fetch) {
	q.grow()
	*q.at(q.n) = f
	q.n++
	f.queue = q
}

// pushFront puts f before all others.
func (q *fetchQueue) pushFront(f *Fetch) {
	q.grow()
	q.head--
	q.n++
	*q.at(0) = f
	f.queue = q
}

func (q *fetchQueue) grow() {
	if q.n < len(q.ring) {
		return
	}
	ring := make([]*Fetch, max(16, 2*len(q.ring)))
	for i := range q.n {
		ring[i] = *q.at(i)
	}
	q.ring, q.head = ring, 0
}

// remove takes f out wherever it stands.
func (q *fetchQueue) remove(f *Fetch) {
	for i := range q.n {
		if at := q.at(i); *at == f {
			*at, f.queue = nil, nil
			return
		}
	}
}
